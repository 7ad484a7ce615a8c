"""Epochs of all losses, and `graphloss train` around them: the time until the first step, the answers for a test split.

Run `GRAPHLOSS_DATA=FOLDER python benchmarks/epoch.py --state runs/epoch.json`; a quarter of an hour. What is finished
stands in the file of `--state`, and the same command goes on from there. Prints three tables with the bounds that are
promised, writes results/epoch.json and draws docs/epoch.svg. `--quick` takes the first documents of MR's splits, and
writes nothing. With `--device cuda` the same, into results/epoch_cuda.json. Where GRAPHLOSS_DATA names no folder,
docstrings stand in for MR.

The losses take turns, batch by batch: each trains an encoder of its own on the same documents, and a machine whose
speed drifts slows all alike. The time until the first step is that of a process of `graphloss train` which ends where
its first step would begin, once with an empty cache of tokens and once again; the head is random, as the default adds
the same pass of the encoder to both. The answers are those of `graphloss.models.forward.answer`, beside a loop over
batches of 128 documents padded to 128 tokens in float32.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from transformers import PreTrainedTokenizerBase

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks import report  # noqa: E402
from benchmarks.steps import (  # noqa: E402
    BATCH,
    MAX_LENGTH,
    TrainingStep,
    data_is_there,
    draw,
    make_trainer,
    splits_of,
)
from benchmarks.tables import TRAINED as LOSSES  # noqa: E402
from benchmarks.timing import median_times, seconds  # noqa: E402
from graphloss.cli.output import quiet_libraries  # noqa: E402
from graphloss.data.documents import Documents, label_names  # noqa: E402
from graphloss.data.splits import SPLITS, Splits  # noqa: E402
from graphloss.data.tokens import encode  # noqa: E402
from graphloss.data.writing import write_table  # noqa: E402
from graphloss.models.classifier import Classifier, build_classifier  # noqa: E402
from graphloss.models.encoder import load_encoder  # noqa: E402
from graphloss.models.forward import answer  # noqa: E402
from graphloss.training.hardware import settle_precision  # noqa: E402

DATA, LONG = "mr", "20ng"
TURNS = 3
QUICK_DOCUMENTS = 256
SECOND_START, EVALUATION, OTHER_LOSS = 0.5, 0.4, 1.05
STARTED = 42  # the exit status that no run ends with
TRAIN_UNTIL_THE_FIRST_STEP = f"""
import os, sys
from graphloss.cli.main import main
from graphloss.training.trainer import GraphLossTrainer
GraphLossTrainer.training_step = lambda *given: os._exit({STARTED})
sys.exit(main(sys.argv[1:]))
"""


def until_the_first_step(flags: list[str]) -> float:
    """Seconds of a process of `graphloss train` that ends where its first step would begin."""
    start = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-c", TRAIN_UNTIL_THE_FIRST_STEP, "train", *flags],
        env=os.environ | {"HF_HUB_OFFLINE": "1"},
        stdout=subprocess.PIPE,
    )
    took = time.perf_counter() - start
    if done.returncode != STARTED:
        sys.exit(f"graphloss train {' '.join(flags)}: exit status {done.returncode}")
    return took


def flags(data: str, folder: Path, options: argparse.Namespace, **others: Any) -> list[str]:
    settings = {"data": data, "output_dir": folder / "run", **others}
    given = [word for name, value in settings.items() for word in (f"--{name}", str(value))]
    return [*given, "--overwrite", *(["--use_cpu"] if options.device == "cpu" else [])]


def epochs(data: str, options: argparse.Namespace) -> dict[str, float]:
    """Seconds of the steps of one epoch of each loss."""
    count = QUICK_DOCUMENTS if options.quick else len(splits_of(data)[0].train)
    drawn = draw(data, count)
    steps = {
        loss: TrainingStep(make_trainer(drawn, device=options.device, loss=loss, precision="auto")) for loss in LOSSES
    }
    order, times = list(LOSSES), dict.fromkeys(LOSSES, 0.0)
    for start in range(-BATCH, count, BATCH):  # a first turn is not counted
        rows = range(max(start, 0), min(max(start, 0) + BATCH, count))
        for loss in order:
            step = steps[loss]
            took = seconds(lambda step=step, rows=rows: step(step.batch(rows)))
            times[loss] += took if start >= 0 else 0.0
        order = [*order[1:], order[0]]
        report.progress(f"{min(start + BATCH, count)} of {count} documents")
    return times


def two_starts(data: str, options: argparse.Namespace) -> list[float]:
    """Seconds until the first step: of a run that finds no tokens in its cache, and of the same run again."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        given = flags(data, folder, options, cache_dir=folder / "cache", head_start="random")
        return [until_the_first_step(given) for _ in range(2)]


def starts(name: str, data: str, options: argparse.Namespace, state: report.State) -> dict[str, float]:
    """Medians over pairs of starts; the share is the median of the pairs' shares."""
    turns = 1 if options.quick else TURNS
    pairs = [state.once(f"start {name} {number}", lambda: two_starts(data, options)) for number in range(turns)]
    first, second = (statistics.median(times) for times in zip(*pairs, strict=True))
    return {"first": first, "second": second, "share": statistics.median(again / fresh for fresh, again in pairs)}


@torch.inference_mode()
def plain_answer(model: Classifier, tokens: Dataset, tokenizer: PreTrainedTokenizerBase, device: str) -> None:
    """The logits of documents in their order, each batch padded to the maximum."""
    model.eval()
    for start in range(0, len(tokens), BATCH):
        rows = tokens[start : start + BATCH]
        batch = tokenizer.pad(rows, padding="max_length", max_length=MAX_LENGTH, return_tensors="pt")
        model(**batch.to(device)).logits.cpu()


def evaluation(splits: Splits, options: argparse.Namespace) -> dict[str, float]:
    """Seconds of answers for the test split, by a plain loop and by ours in each precision."""
    encoder = load_encoder("minilm")
    model = build_classifier(encoder, label_names(splits.train)).to(options.device)
    assert splits.test is not None
    tokens = encode(splits.test, encoder.tokenizer, MAX_LENGTH)
    automatic = settle_precision("auto", torch.device(options.device), report.progress)

    def ours(precision: str) -> None:
        with torch.autocast(options.device, torch.bfloat16, enabled=precision == "bf16"):
            answer(model, tokens, encoder.tokenizer, pooling=encoder.pooling, most=BATCH)

    tasks: dict[str, Callable[[], None]] = {
        "plain": lambda: plain_answer(model, tokens, encoder.tokenizer, options.device),
        **{name: lambda name=name: ours(name) for name in dict.fromkeys((automatic, "float32"))},
    }
    return median_times(tasks, rounds=1 if options.quick else TURNS)


def data_sets(options: argparse.Namespace, folder: Path) -> tuple[dict[str, str], Splits, str]:
    """What `--data` is given, by the name of the data set; the splits of the first; and what these are."""
    splits, source = splits_of(DATA)
    if data_is_there() and not options.quick:
        return {DATA: DATA, LONG: LONG}, splits, source
    if options.quick:
        splits = Splits(**{split: first_documents(getattr(splits, split)) for split in SPLITS})
    for split in SPLITS:
        documents = getattr(splits, split)
        write_table(folder / f"{split}.parquet", {"text": documents.texts, "label": documents.labels})
    return {DATA: str(folder)}, splits, source


def first_documents(documents: Documents) -> Documents:
    return documents.take(list(range(min(QUICK_DOCUMENTS, len(documents)))))


def measure(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """All that is not finished yet."""
    state = report.State(None if options.quick else options.state)
    sets, splits, source = data_sets(options, folder)
    two_starts(sets[DATA], options)  # libraries come into the page cache
    found = {name: starts(name, data, options, state) for name, data in sets.items()}
    assert splits.test is not None
    return {
        "texts": source,
        "documents": len(splits.test),
        "epoch": state.once("epochs", lambda: epochs(DATA, options)),
        "starts": found,
        "evaluation": state.once("evaluation", lambda: evaluation(splits, options)),
    }


def bounds(results: dict[str, Any]) -> list[report.Bound]:
    times, found = results["evaluation"], []
    for loss in (loss for loss in LOSSES if loss != "ce"):
        text = f"an epoch of {loss}, times cross-entropy"
        found.append(report.Bound(text, results["epoch"][loss] / results["epoch"]["ce"], OTHER_LOSS))
    for data, row in results["starts"].items():
        found.append(report.Bound(f"{data}: second start, share of the first", row["share"], SECOND_START))
    for precision in (name for name in times if name != "plain"):
        text = f"answers in {precision}: share of a plain loop"
        found.append(report.Bound(text, times[precision] / times["plain"], EVALUATION))
    return found


def table(results: dict[str, Any]) -> str:
    times, answers = results["epoch"], results["evaluation"]
    lines = ["the steps of one epoch, seconds"]
    lines += [f"  {text:<30}{times[loss]:9.1f}{times[loss] / times['ce']:9.3f}" for loss, text in LOSSES.items()]
    lines += ["until the first step, seconds         first   second    share"]
    lines += [
        f"  {data:<30}{row['first']:9.1f}{row['second']:9.1f}{row['share']:9.3f}"
        for data, row in results["starts"].items()
    ]
    lines += ["answers for the test documents, seconds"]
    lines += [f"  {name:<30}{taken:9.1f}{taken / answers['plain']:9.3f}" for name, taken in answers.items()]
    return "\n".join(lines)


def draw_figure(results: dict[str, Any]) -> None:
    figure, panels = report.new_figure(panels=3, size=(9, 3.2))
    epochs = {
        "CE" if loss == "ce" else "G-Loss" if loss == "gloss" else loss: results["epoch"][loss] for loss in LOSSES
    }
    first = {f"{data}\n{which}": row[which] for data, row in results["starts"].items() for which in ("first", "second")}
    answers = {"plain loop" if name == "plain" else name: taken for name, taken in results["evaluation"].items()}
    titles = ("one epoch on MR", "until the first step", "answers for the test split")
    for axes, title, bars in zip(panels, titles, (epochs, first, answers), strict=True):
        ours = [name in ("G-Loss", "float32", "bf16") or name.endswith("second") for name in bars]
        axes.bar(list(bars), list(bars.values()), width=0.6, color=["black" if own else "lightgray" for own in ours])
        axes.set_title(title, fontsize="medium")
    panels[0].set(ylabel="seconds")
    report.save_figure(figure, "epoch")


def main() -> None:
    options = report.arguments(__doc__, resumes=True).parse_args()
    quiet_libraries()
    with tempfile.TemporaryDirectory() as folder:
        results = measure(options, Path(folder))
    print(f"{torch.get_num_threads()} threads, MiniLM, medians; {results['texts']}")
    print(table(results))
    if report.conclude("epoch", results, bounds(results), options):
        draw_figure(results)


if __name__ == "__main__":
    main()
