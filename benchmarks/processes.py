"""What the graph across processes costs: measured for two of them, and as a model for many.

Run `GRAPHLOSS_DATA=FOLDER python benchmarks/processes.py`. Two processes of one thread each take steps of 64 + 64
documents of MR; beside the whole step stands what gathering the embeddings, the graph and the way back take of it.
Then, for 8, 64 and 512 processes of 64 documents, what one of them computes is measured, while it is told what the
others would tell it, and what it sends and receives is counted: with the stated bandwidth and latency that is the
model. Writes results/processes.json. Where GRAPHLOSS_DATA names no folder, docstrings stand in for MR.
"""

import json
import statistics
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, distributed

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks import report  # noqa: E402
from benchmarks.steps import TrainingStep, draw, make_trainer, splits_of  # noqa: E402
from benchmarks.timing import seconds  # noqa: E402
from graphloss import GLoss  # noqa: E402
from graphloss.cli.output import quiet_libraries  # noqa: E402

DATA, OWN, DIMENSION, CLASSES = "mr", 64, 384, 20
STEPS, WARM_UP, SHARE = 30, 3, 0.05
TURNS = 3
PROCESSES, SOLVERS = (8, 64, 512), ("direct", "matrix-free")
BANDWIDTH, LATENCY = 25e9, 20e-6  # bytes and seconds: 200 Gb/s between machines, one collective


def steps_of_two() -> dict[str, float]:
    """Median seconds of a step of two processes, and of its gathering and graph alone."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2", __file__]
    done = subprocess.run([*command, "--probe"], stdout=subprocess.PIPE, text=True)
    if done.returncode:
        sys.exit(f"two processes ended with status {done.returncode}")
    return json.loads(done.stdout.strip().splitlines()[-1])


def probe() -> None:
    """One of the two processes; the first prints."""
    torch.set_num_threads(1)
    step = TrainingStep(make_trainer(draw(DATA, 2 * OWN), device="cpu"))
    trainer, rank = step.trainer, distributed.get_rank()
    batch = step.batch(range(rank * OWN, (rank + 1) * OWN))
    with torch.no_grad():
        logits, embeddings, _ = trainer._forward(trainer.classifier, {k: v for k, v in batch.items() if k != "labels"})
    leaves = [values.float().requires_grad_() for values in (logits, embeddings)]

    def graph() -> None:
        loss, _ = trainer.combined_loss(*leaves, batch["labels"], step=0, epoch=0)
        torch.autograd.grad(loss, leaves)

    times: dict[str, list[float]] = {"step": [], "graph": []}
    for turn in range(WARM_UP + STEPS):
        for name, task in (("step", partial(step, batch)), ("graph", graph)):
            distributed.barrier()
            taken = seconds(task)
            if turn >= WARM_UP:
                times[name].append(taken)
    if rank == 0:
        print(json.dumps({name: statistics.median(values) for name, values in times.items()}))


class Recorder:
    """All processes in one; keeps what they would tell each other."""

    index, count = 0, 1

    def __init__(self) -> None:
        """Nothing has been said yet."""
        self.told: list[Tensor] = []

    def gather(self, rows: Tensor, counts: list[int]) -> Tensor:
        """What is given, kept."""
        self.told.append(rows.detach().clone())
        return rows.detach().clone()

    def total(self, values: Tensor) -> Tensor:
        """What is given, kept."""
        return self.gather(values, [len(values)])


class First:
    """The first of many processes, which is told what a recorder kept. Counts what would be moved."""

    index = 0

    def __init__(self, count: int, told: list[Tensor]) -> None:
        """Begin at the first thing that was kept."""
        self.count, self.told = count, iter(told)
        self.moved, self.collectives = 0, 0

    def gather(self, rows: Tensor, counts: list[int]) -> Tensor:
        """What all would give."""
        return self._next(1)

    def total(self, values: Tensor) -> Tensor:
        """What all would give together; it goes round twice."""
        return self._next(2)

    def _next(self, rounds: int) -> Tensor:
        found = next(self.told)
        self.moved += rounds * found.nbytes
        self.collectives += 1
        return found.clone()


def share_of_one(count: int, solver: str) -> dict[str, float]:
    """What one of so many processes computes for the graph, and what it sends and receives."""
    generator = torch.Generator().manual_seed(0)
    size = OWN * count
    labels = torch.randint(CLASSES, (size,), generator=generator)
    centres = torch.randn(CLASSES, DIMENSION, generator=generator)
    points = centres[labels] + 2.0 * torch.randn(size, DIMENSION, generator=generator)
    points.requires_grad_()
    recorder = Recorder()
    GLoss(CLASSES, solver=solver, ranks=recorder)(points, labels).backward()
    loss = GLoss(CLASSES, solver=solver)
    times = []
    for _ in range(TURNS):
        loss.ranks, loss.step = First(count, recorder.told), 0
        times.append(seconds(lambda: loss(points, labels).backward()))
    taken, ranks = statistics.median(times), loss.ranks
    embeddings = size * (DIMENSION + CLASSES) * 4
    moved = ranks.moved + 3 * embeddings  # gathered, and their gradients summed
    transfers = moved / BANDWIDTH + (ranks.collectives + 5) * LATENCY
    return {"compute": taken, "moved": moved, "collectives": ranks.collectives + 5, "transfers": transfers}


def main() -> None:
    if "--probe" in sys.argv:
        quiet_libraries()
        probe()
        return
    options = report.arguments(__doc__).parse_args()
    quiet_libraries()
    two = steps_of_two()
    torch.set_num_threads(1)
    many = {str(count): {solver: share_of_one(count, solver) for solver in SOLVERS} for count in PROCESSES}
    results: dict[str, Any] = {"texts": splits_of(DATA)[1], "two": two, "many": many}
    results |= {"bandwidth": BANDWIDTH, "latency": LATENCY, "documents": OWN}
    for count, row in many.items():
        for solver, found in row.items():
            print(count, solver, {name: round(value, 5) for name, value in found.items()})
    bound = report.Bound("gathering and graph, share of a step of 64 + 64", two["graph"] / two["step"], SHARE)
    report.conclude("processes", results, [bound], options)


if __name__ == "__main__":
    main()
