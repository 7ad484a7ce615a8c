"""graphloss demo"""

import shutil
from argparse import Namespace
from pathlib import Path
from typing import Any

from rich.table import Table

from graphloss.cli.arguments import Parser
from graphloss.cli.output import quiet_libraries
from graphloss.cli.terminal import Terminal
from graphloss.data.docstrings import docstring_splits
from graphloss.data.documents import label_names
from graphloss.data.splits import Splits
from graphloss.data.writing import write_table
from graphloss.errors import InputError
from graphloss.run import RunConfig, run_training
from graphloss.run.sections import DataConfig, GraphConfig, ModelConfig
from graphloss.training.config import TrainingConfig
from graphloss.training.run_directory import write_json

MAX_LENGTH = 64
RUNS = {"frozen": "encoder as it was, linear head", "ce": "cross-entropy", "gloss": "G-Loss + cross-entropy"}


def run(arguments: list[str]) -> int:
    """Make a data set of docstrings, train on it with and without the encoder, and print what came out."""
    (flags,) = _parser().parse(arguments)
    console = Terminal(quiet=flags.quiet)
    folder = Path(flags.output_dir)
    if folder.exists() and not flags.overwrite:
        raise InputError(f"{folder} exists; name another --output_dir or give --overwrite")
    quiet_libraries()
    console.print("reading the docstrings of what is installed ...")
    splits = docstring_splits(training=flags.labels_per_class)
    console.print(f"{len(label_names(splits.train))} packages: {', '.join(label_names(splits.train))}", soft_wrap=True)
    for name in ("data", *RUNS):
        shutil.rmtree(folder / name, ignore_errors=True)
    _write(splits, folder / "data")
    scores = {}
    for key, name in RUNS.items():
        console.print(f"\ntraining: {name}", soft_wrap=True)
        metrics = _train(key, folder, flags, console)
        scores[name] = metrics["test"]
        scores[f"{name}, with the graph"] = metrics["graph"]["test"]
    write_json(folder / "scores.json", scores)
    _show(scores, folder, console)
    return 0


def _write(splits: Splits, folder: Path) -> None:
    for name in ("train", "validation", "test"):
        documents = getattr(splits, name)
        write_table(folder / f"{name}.parquet", {"text": documents.texts, "label": documents.labels})


def _train(key: str, folder: Path, flags: Namespace, console: Terminal) -> dict[str, Any]:
    config = RunConfig(
        data=DataConfig(data=str(folder / "data")),
        model=ModelConfig(encoder=flags.encoder, head="linear", max_length=MAX_LENGTH),
        graph=GraphConfig(floor=False),
        training=TrainingConfig(
            output_dir=str(folder / key),
            setup="frozen" if key == "frozen" else "integrated",
            loss="ce" if key == "frozen" else key,
            seed=flags.seed,
            max_steps=flags.steps,
            per_device_train_batch_size=64,
            learning_rate=2e-4,  # for so few steps; docs/log.md
            patience=0,
        ),
    )
    return run_training(config, console=console)


def _show(scores: dict[str, dict[str, float | int]], folder: Path, console: Terminal) -> None:
    table = Table(title="Which package is a docstring from?", title_justify="left")
    table.add_column("classifier")
    table.add_column("accuracy", justify="right")
    table.add_column("macro-F1", justify="right")
    for name, values in scores.items():
        table.add_row(name, f"{100 * values['accuracy']:.1f} %", f"{100 * values['macro_f1']:.1f} %")
    console.print("\n", table)
    documents = next(iter(scores.values()))["n"]
    half_width = 196 * max(value["accuracy"] * (1 - value["accuracy"]) / documents for value in scores.values()) ** 0.5
    console.print(f"{documents} test documents, one seed: ±{half_width:.1f} points of accuracy are chance (95 %).")
    for key, name in RUNS.items():
        console.print(f"{name}: {folder / key}", soft_wrap=True)
    texts = folder / "data" / "test.parquet"
    console.print(
        f"try: graphloss predict --graph --model {folder / 'gloss'} --input {texts} --output predictions.csv",
        soft_wrap=True,
    )


def _parser() -> Parser:
    parser = Parser(
        "demo",
        description="See a frozen encoder, cross-entropy and G-Loss side by side on docstrings; needs no download.",
    )
    parser.add_argument("--output_dir", default="graphloss-demo", help="Folder for the data and both runs.")
    parser.add_argument(
        "--encoder", default="minilm", help="minilm, a folder with a saved model, or a name on the hub."
    )
    parser.add_argument("--steps", type=int, default=42, help="Training steps of each run.")
    parser.add_argument("--labels_per_class", type=int, default=32, help="Training documents a class.")
    parser.add_argument("--seed", type=int, default=42, help="Of the new classification head and the batches.")
    parser.add_argument("--overwrite", action="store_true", help="Replace the folder.")
    parser.add_argument("--quiet", action="store_true", help="Print nothing but errors.")
    return parser
