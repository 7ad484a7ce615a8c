"""Time and memory over the size of the batch, with the activations of 128 documents in memory or with all of them.

Run `GRAPHLOSS_DATA=FOLDER python benchmarks/batch.py --state runs/batch.json`; twenty minutes, and 14 GB for the
largest batch that is held whole. What is finished stands in the file of `--state`, and the same command goes on from
there. Prints one table with the bounds that are promised, writes results/batch.json and draws docs/batch.svg. `--quick`
takes small batches and writes nothing. With `--device cuda` up to 65,536 documents, into results/batch_cuda.json. Where
GRAPHLOSS_DATA names no folder, docstrings stand in for MR. Batches larger than the data set hold documents several
times.

Each size is measured in a process of its own, whose peak memory is that of the whole process, from its start (on CUDA:
of what torch allocates). The bound on time compares what takes turns in one process: one step over the large batch, and
steps of 128 over the same documents. Gradients are compared in float32 without dropout: the largest difference of any
entry over the largest entry, between our parts with the activations of 128 documents in memory and a single pass over
the padded batch. Where that takes too much memory, passes over 512 documents are the other side.
"""

import argparse
import json
import statistics
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks import report  # noqa: E402
from benchmarks.steps import TrainingStep, draw, make_trainer, resident, splits_of  # noqa: E402
from benchmarks.timing import seconds  # noqa: E402
from graphloss.cli.output import quiet_libraries  # noqa: E402
from graphloss.models.parts import Budget  # noqa: E402
from graphloss.training.hardware import settle_precision  # noqa: E402

DATA, MICRO, LARGER_MICRO, WARM_UP = "mr", 128, 512, 64
SIZES, LARGE, PLAIN_UP_TO, TURNS = (64, 128, 512, 1_024, 2_048, 4_096, 8_192), 4_096, 1_024, 3
QUICK_SIZES, QUICK_LARGE = (64, 256), 256
CUDA_SIZES = (*SIZES, 65_536)
DOCUMENTS_TIMED = 1_024  # small batches are repeated until so many have been seen, three times at most
UNCUT = Budget(tokens=2**40, overhead=2**40)  # as few passes as can be
TIMES_AS_LONG, GIGABYTES, DIFFERENCE = 1.5, 6.0, 1e-5


def cost(device: str, precision: str, size: int, micro: int) -> dict[str, float]:
    """Median seconds a document of a step, and peak memory."""
    step = TrainingStep(make_trainer(draw(DATA, size), device=device, precision=precision, micro_batch_size=micro))
    batch = step.batch()
    step(step.batch(range(WARM_UP)))
    turns = max(1, min(TURNS, DOCUMENTS_TIMED // size))
    taken = statistics.median(seconds(lambda: step(batch)) for _ in range(turns))
    return {"seconds": taken / size, "peak_bytes": peak_memory(device)}


def peak_memory(device: str) -> int:
    return resident("VmHWM") if device == "cpu" else torch.cuda.max_memory_allocated()


def turn(device: str, precision: str, size: int) -> dict[str, float]:
    """Seconds a document in one batch, and in batches of 128 of the same documents."""
    step = TrainingStep(make_trainer(draw(DATA, size), device=device, precision=precision, micro_batch_size=MICRO))
    whole = step.batch()
    small = [step.batch(range(start, start + MICRO)) for start in range(0, size, MICRO)]
    step(small[0])
    cached = seconds(lambda: step(whole))
    plain = seconds(lambda: [step(batch) for batch in small])
    return {"cached": cached / size, "plain": plain / size}


def difference(device: str, size: int, other: int) -> float:
    """Largest difference of a gradient entry between ours and passes over `other` documents, over the largest entry."""
    trainer = make_trainer(
        draw(DATA, size), device=device, dropout=False, precision="float32", micro_batch_size=MICRO, tf32=False
    )
    step = TrainingStep(trainer)
    batch = step.batch()
    found = gradients(step, batch)
    trainer.budget, trainer.args.micro_batch_size = UNCUT, str(other)
    expected = gradients(step, batch)
    largest = max(float(gradient.abs().max()) for gradient in expected)
    return max(float((a - b).abs().max()) for a, b in zip(found, expected, strict=True)) / largest


def gradients(step: TrainingStep, batch: dict[str, Tensor]) -> list[Tensor]:
    step.model.zero_grad()
    step.gradients(batch)
    return [weight.grad for weight in step.model.parameters() if weight.grad is not None]


PROBES: dict[str, Callable[..., Any]] = {"cost": cost, "turn": turn, "difference": difference}


def elsewhere(probe: str, **settings: Any) -> Any:
    """What a probe finds in a process of its own."""
    command = [sys.executable, __file__, "--probe", json.dumps([probe, settings])]
    return json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """All probes that are not finished yet."""
    device, state = options.device, report.State(None if options.quick else options.state)
    sizes = QUICK_SIZES if options.quick else CUDA_SIZES if device == "cuda" else SIZES
    large, turns = (QUICK_LARGE, 1) if options.quick else (LARGE, TURNS)
    precision = state.once("precision", lambda: settle_precision("auto", torch.device(device), report.progress))
    results: dict[str, Any] = {
        "precision": precision,
        "micro_batch_size": MICRO,
        "large": large,
        "texts": splits_of(DATA)[1],
        "cached": {},
        "plain": {},
        "gradients": {},
    }

    def once(probe: str, name: str = "", **settings: Any) -> Any:
        text = " ".join(f"{key} {value}" for key, value in settings.items())
        return state.once(f"{probe} {text}{name}", lambda: elsewhere(probe, device=device, **settings))

    for size in sizes:
        results["cached"][size] = once("cost", precision=precision, size=size, micro=MICRO)
        if size <= options.plain_up_to:
            results["plain"][size] = once("cost", precision=precision, size=size, micro=size)
        if MICRO < size <= options.plain_up_to or size == large:
            other = size if size <= options.plain_up_to else LARGER_MICRO
            found = once("difference", size=size, other=other)
            results["gradients"][size] = {"difference": found, "micro_batch_size": MICRO, "other": other}
    found = [once("turn", f" turn {number}", precision=precision, size=large) for number in range(turns)]
    results["turns"] = {name: statistics.median(each[name] for each in found) for name in ("cached", "plain")}
    results["turns"]["ratio"] = statistics.median(each["cached"] / each["plain"] for each in found)
    return results


def bounds(results: dict[str, Any], device: str) -> list[report.Bound]:
    large, ratio = results["large"], results["turns"]["ratio"]
    differences = [each["difference"] for each in results["gradients"].values()]
    found = [
        report.Bound(f"{large:,} documents: times as long a document as batches of {MICRO}", ratio, TIMES_AS_LONG),
        report.Bound("largest difference of a gradient, over its largest entry", max(differences), DIFFERENCE),
    ]
    if device == "cpu":
        peak = results["cached"][large]["peak_bytes"] / 1e9
        found.append(report.Bound(f"{large:,} documents: peak memory of the process, GB", peak, GIGABYTES))
    return found


def table(results: dict[str, Any]) -> str:
    lines = [
        f"{'':>9}{f'{MICRO} at once':>25}{'all at once':>25}{'difference of':>16}",
        f"{'documents':>9}" + f"{'ms/document':>15}{'peak GB':>10}" * 2 + f"{'gradients':>16}",
    ]
    for size in results["cached"]:
        line = f"{size:9,}"
        for kind in ("cached", "plain"):
            found = results[kind].get(size)
            line += f"{1e3 * found['seconds']:15.2f}{found['peak_bytes'] / 1e9:10.2f}" if found else f"{'-':>25}"
        compared = results["gradients"].get(size)
        if compared:
            line += f"{compared['difference']:16.1e}"
            line += "" if compared["other"] == size else f"  from passes over {compared['other']}"
        lines.append(line)
    turns = results["turns"]
    lines.append(
        f"in turn: {1e3 * turns['cached']:.2f} ms/document in batches of {results['large']:,}, "
        f"{1e3 * turns['plain']:.2f} in batches of {MICRO}"
    )
    return "\n".join(lines)


def draw_figure(results: dict[str, Any]) -> None:
    figure, panels = report.new_figure(panels=2, size=(8, 3.4))
    styles = {"cached": (f"{MICRO} at once", "black", 2.5), "plain": ("all at once", "gray", 1.5)}
    quantities = (("seconds", 1e3, "a step, ms a document"), ("peak_bytes", 1e-9, "peak memory, GB"))
    for axes, (quantity, unit, text) in zip(panels, quantities, strict=True):
        for kind, (label, colour, width) in styles.items():
            values = [unit * cost[quantity] for cost in results[kind].values()]
            axes.plot(list(results[kind]), values, marker="o", color=colour, linewidth=width, label=label)
        axes.set(xscale="log", xlabel="documents in the batch", ylabel=text)
        axes.set_ylim(0, 1.1 * axes.get_ylim()[1])
        axes.set_xticks(list(results["cached"]), [f"{size:,}" for size in results["cached"]], rotation=30)
        axes.minorticks_off()
    panels[0].legend(frameon=False)
    report.save_figure(figure, "batch")


def main() -> None:
    parser = report.arguments(__doc__, resumes=True)
    parser.add_argument(
        "--plain_up_to", type=int, default=PLAIN_UP_TO, help="Largest batch of which all activations fit into memory."
    )
    parser.add_argument("--probe", type=json.loads, help=argparse.SUPPRESS)
    options = parser.parse_args()
    quiet_libraries()
    if options.probe:
        probe, settings = options.probe
        print(json.dumps(PROBES[probe](**settings)))
        return
    results = measure(options)
    print(f"{torch.get_num_threads()} threads, MiniLM, {results['precision']}, medians; {results['texts']}")
    print(table(results))
    if report.conclude("batch", results, bounds(results, options.device), options):
        draw_figure(results)


if __name__ == "__main__":
    main()
