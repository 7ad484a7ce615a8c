"""graphloss demo"""

import shutil
from argparse import Namespace
from pathlib import Path

from rich.console import Console
from rich.table import Table

from graphloss.cli.arguments import Parser
from graphloss.cli.quiet import quiet_libraries
from graphloss.data.docstrings import docstring_splits
from graphloss.data.documents import label_names
from graphloss.data.splits import Splits
from graphloss.data.writing import write_table
from graphloss.errors import InputError
from graphloss.inference.nearest_mean import nearest_mean_scores
from graphloss.models.encoder import load_encoder
from graphloss.training.config import DataConfig, GLossConfig, ModelConfig, TrainingConfig
from graphloss.training.run import RunConfig, run_training
from graphloss.training.run_directory import write_json

MAX_LENGTH = 64
LOSSES = {"ce": "cross-entropy", "gloss": "G-Loss + cross-entropy"}


def run(arguments: list[str]) -> int:
    """Make a data set of docstrings, train with both losses from the same start, and print what came out."""
    (flags,) = _parser().parse(arguments)
    console = Console(highlight=False, quiet=flags.quiet)
    folder = Path(flags.output_dir)
    if folder.exists() and not flags.overwrite:
        raise InputError(f"{folder} exists; name another --output_dir or give --overwrite")
    quiet_libraries()
    encoder = load_encoder(flags.encoder)
    console.print("reading the docstrings of what is installed ...")
    splits = docstring_splits(training=flags.labels_per_class)
    console.print(f"{len(label_names(splits.train))} packages: {', '.join(label_names(splits.train))}", soft_wrap=True)
    for name in ("data", *LOSSES):
        shutil.rmtree(folder / name, ignore_errors=True)
    _write(splits, folder / "data")
    assert splits.test is not None
    floor = nearest_mean_scores(splits.train, splits.test, encoder, max_length=MAX_LENGTH)
    scores = {"untouched encoder, nearest class mean": floor}
    for loss, name in LOSSES.items():
        console.print(f"\ntraining with {name}", soft_wrap=True)
        scores[name] = _train(loss, folder, flags, console)
    write_json(folder / "scores.json", scores)
    _show(scores, folder, console)
    return 0


def _write(splits: Splits, folder: Path) -> None:
    for name in ("train", "validation", "test"):
        documents = getattr(splits, name)
        write_table(folder / f"{name}.parquet", {"text": documents.texts, "label": documents.labels})


def _train(loss: str, folder: Path, flags: Namespace, console: Console) -> dict[str, float | int]:
    config = RunConfig(
        data=DataConfig(data=str(folder / "data")),
        model=ModelConfig(encoder=flags.encoder, head="linear", max_length=MAX_LENGTH),
        gloss=GLossConfig(),
        training=TrainingConfig(
            output_dir=str(folder / loss),
            loss=loss,
            seed=flags.seed,
            max_steps=flags.steps,
            per_device_train_batch_size=64,
            learning_rate=2e-4,  # for so few steps; docs/log.md
            patience=0,
        ),
    )
    return run_training(config, console=console)["test"]


def _show(scores: dict[str, dict[str, float | int]], folder: Path, console: Console) -> None:
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
    for loss, name in LOSSES.items():
        console.print(f"{name}: {folder / loss}", soft_wrap=True)
    texts = folder / "data" / "test.parquet"
    console.print(
        f"try: graphloss predict --model {folder / 'gloss'} --input {texts} --output predictions.csv", soft_wrap=True
    )


def _parser() -> Parser:
    parser = Parser("demo", description="See cross-entropy and G-Loss side by side on docstrings; needs no download.")
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
