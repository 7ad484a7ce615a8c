"""The graph loss against the released recipe, other losses and the bare matrix products: time and peak memory.

Run `python benchmarks/graph_loss.py`; ten minutes. Prints one table with the bounds that are promised, writes
results/graph_loss.json and draws docs/graph-loss.svg. `--quick` stops at B = 2,048 and writes nothing.
With `--device cuda` the same on a CUDA device, with the largest batch that fits, into results/graph_loss_cuda.json. The
other losses come with the extra `benchmarks`.
"""

import argparse
import gc
import json
import os
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
from benchmarks.step import share_of_a_step  # noqa: E402
from benchmarks.steps import resident  # noqa: E402
from benchmarks.tables import TIMED  # noqa: E402
from benchmarks.timing import median_times, seconds  # noqa: E402
from graphloss import GLoss  # noqa: E402
from graphloss.cli.output import quiet_libraries  # noqa: E402
from graphloss.training.run_directory import describe_environment, write_json  # noqa: E402
from tests.graph import reference  # noqa: E402

DIMENSION, CLASSES, GAMMA = 384, 20, 0.7
# Size, rounds, calls a round, and the largest that each competitor is run at: beyond it, its memory grows past 24 GB
# (the triplets) or its time past a minute a call.
SIZES = [(128, 12, 20), (512, 8, 6), (2_048, 6, 3), (8_192, 3, 1), (16_384, 3, 1)]
LARGEST = {"plain": 2_048, "supcon": 8_192, "triplet": 512, "batch_all": 2_048}
PROBED = [16_384, 131_072]


def batch(size: int, device: str) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    embeddings = torch.randn(size, DIMENSION, generator=generator).to(device).requires_grad_()
    return embeddings, torch.randint(CLASSES, (size,), generator=generator).to(device)


def products(embeddings: Tensor, rows_at_once: int) -> None:
    """Affinities of the masked rows, and what their gradient sends back to columns and to rows."""
    points = embeddings.detach()
    received = torch.zeros_like(points)
    for queries in points[: len(points) - round(GAMMA * len(points))].split(rows_at_once):
        affinities = queries @ points.mT
        received.addmm_(affinities.mT, queries)
        affinities @ points


def tasks(size: int, device: str) -> dict[str, Callable[[], object]]:
    from pytorch_metric_learning.losses import SupConLoss, TripletMarginLoss
    from sentence_transformers.sentence_transformer.losses import BatchAllTripletLoss

    embeddings, labels = batch(size, device)
    graph_loss, supcon, triplet = GLoss(CLASSES), SupConLoss(), TripletMarginLoss()
    batch_all = BatchAllTripletLoss(model=None)
    every: dict[str, Callable[[], object]] = {
        "plain": lambda: reference.released_loss(embeddings, labels, CLASSES, 0.66, GAMMA).backward(),
        "products": lambda: products(embeddings, min(size, 8_192)),
        "gloss": lambda: graph_loss(embeddings, labels).backward(),
        "supcon": lambda: supcon(embeddings, labels).backward(),
        "triplet": lambda: triplet(embeddings, labels).backward(),
        "batch_all": lambda: batch_all.compute_loss_from_embeddings([embeddings], labels).backward(),
    }
    return {name: task for name, task in every.items() if size <= LARGEST.get(name, size)}


def probe(size: int) -> dict[str, float]:
    """Peak memory and, of sizes that take minutes a call, times."""
    embeddings, labels = batch(size, "cpu")
    loss = GLoss(CLASSES)
    loss(embeddings[:512], labels[:512]).backward()  # embeddings.grad exists from here on
    gc.collect()
    Path("/proc/self/clear_refs").write_text("5")  # forget the peak so far
    before = resident("VmRSS")
    took = seconds(lambda: loss(embeddings, labels).backward())
    found: dict[str, float] = {"extra_bytes": resident("VmHWM") - before}
    if size > SIZES[-1][0] * 2:
        found |= {"gloss": took, "products": seconds(lambda: products(embeddings, 1_024))}
    return found


def probe_elsewhere(size: int) -> dict[str, float]:
    """As `probe`, in a process of its own whose freed memory goes back to the system at once.

    What is resident is then what is used, and not what malloc holds on to.
    """
    environment = os.environ | {"MALLOC_TRIM_THRESHOLD_": "0", "MALLOC_MMAP_THRESHOLD_": "1048576"}
    command = [sys.executable, __file__, "--probe", str(size)]
    done = subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE, text=True)
    return json.loads(done.stdout)


def largest_batch(step: Callable[[Tensor, Tensor], Tensor], limit: int = 2**22) -> int:
    """The largest power of two that a step on the CUDA device fits at."""
    size = 1_024
    while size < limit:
        try:
            step(*batch(2 * size, "cuda")).backward()
        except torch.cuda.OutOfMemoryError:
            break
        finally:
            torch.cuda.empty_cache()
        size *= 2
    return size


def bounds(rows: dict[int, dict[str, float]], memory_share: float | None) -> list[tuple[str, float, float]]:
    """What is promised: text, figure and its upper bound."""
    checks = []
    for size, times_faster in ((128, 2.5), (512, 12.0), (2_048, 45.0)):
        checks.append((f"B = {size}: share of the released recipe", rows[size], "plain", 1.0 / times_faster))
    for size, times in ((2_048, 1.6), (8_192, 2.0), (16_384, 2.0), (131_072, 12.0)):
        if size in rows:
            checks.append((f"B = {size}: times the three products", rows[size], "products", times))
    found = [(text, row["gloss"] / row[other], bound) for text, row, other, bound in checks]
    for size in (128, 512):
        fastest = min(rows[size][name] for name in ("supcon", "triplet", "batch_all"))
        found.append((f"B = {size}: share of the fastest other loss", rows[size]["gloss"] / fastest, 1.0))
    if 16_384 in rows:
        found.append(("B = 16384: peak memory, MB", rows[16_384]["extra_bytes"] / 1e6, 200.0))
    if 131_072 in rows:
        found.append(("B = 131072: peak memory, GB", rows[131_072]["extra_bytes"] / 1e9, 23.0))
    if memory_share is not None:
        found.append(("memory of 8192, B = 128: share of a MiniLM step", memory_share, 0.02))
    return found


def table(rows: dict[int, dict[str, float]]) -> str:
    lines = ["forward + backward, ms" + "".join(f"{f'B = {size}':>13}" for size in rows)]
    for name, text in TIMED.items():
        cells = [f"{1e3 * row[name]:13.2f}" if name in row else f"{'-':>13}" for row in rows.values()]
        lines.append(f"{text:<34}".ljust(22) + "".join(cells))
    return "\n".join(lines)


def draw(rows: dict[int, dict[str, float]]) -> None:
    figure, axes = report.new_figure()
    for name, text in TIMED.items():
        sizes = [size for size, row in rows.items() if name in row]
        style = {"gloss": {"linewidth": 2.5, "color": "black"}, "products": {"linestyle": ":", "color": "black"}}
        axes.plot(sizes, [1e3 * rows[size][name] for size in sizes], marker="o", label=text, **style.get(name, {}))
    axes.set(xscale="log", yscale="log", xlabel="documents in the batch", ylabel="forward + backward, ms")
    axes.set_xticks(list(rows), [f"{size:,}" for size in rows], rotation=30)
    axes.minorticks_off()
    axes.legend(frameon=False)
    report.save_figure(figure, "graph-loss")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    parser.add_argument("--quick", action="store_true", help="Stop at B = 2,048; write nothing.")
    parser.add_argument("--probe", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.probe:
        print(json.dumps(probe(options.probe)))
        return
    quiet_libraries()
    rows: dict[int, dict[str, float]] = {}
    for size, rounds, block in SIZES[:3] if options.quick else SIZES:
        rows[size] = median_times(tasks(size, options.device), rounds, block)
        print(f"B = {size} done", file=sys.stderr, flush=True)
    results: dict[str, Any] = {"rows": rows}
    share = None
    if options.device == "cuda":
        results["largest"] = {
            "GLoss": largest_batch(GLoss(CLASSES)),
            "plain float32 autograd": largest_batch(
                lambda x, y: reference.released_loss(x, y, CLASSES, 0.66, GAMMA, dtype=torch.float32)
            ),
        }
    elif not options.quick:
        for size in PROBED:
            rows.setdefault(size, {}).update(probe_elsewhere(size))
            print(f"B = {size} done", file=sys.stderr, flush=True)
        step, texts = share_of_a_step()
        share = step["memory"] / step["step"]
        results["memory"] = step | {"texts": texts}
    print(
        f"{torch.get_num_threads()} threads, d = {DIMENSION}, C = {CLASSES}, gamma = {GAMMA}, default settings, medians"
    )
    print(table(rows))
    found = bounds(rows, share) if options.device == "cpu" else []
    for text, value, bound in found:
        print(f"{text:<50}{value:9.4f}   bound {bound:.4g}   {'met' if value <= bound else 'MISSED'}")
    for text, size in results.get("largest", {}).items():
        print(f"largest batch that fits, {text:<28}{size:>12,}")
    if not options.quick:
        results["bounds"] = [{"bound": bound, "text": text, "value": value} for text, value, bound in found]
        name = "graph_loss" if options.device == "cpu" else "graph_loss_cuda"
        write_json(
            ROOT / "results" / f"{name}.json", results | {"environment": describe_environment(0, options.device)}
        )
        if options.device == "cpu":
            draw(rows)


if __name__ == "__main__":
    main()
