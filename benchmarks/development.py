"""Data sets for choosing settings: new splits of the training and validation documents of the benchmarks.

Run `GRAPHLOSS_DATA=FOLDER python benchmarks/development.py`; seconds. Writes runs/development/NAME, a folder with
train, validation and test files, for each set that ablations.py compares settings on. What is "test" there are
training documents that were held out: no test document of a benchmark is read. Beside them, under
runs/development/encoders, MiniLM as it never was: with random weights, and with its layers in reverse order.
"""

import shutil
from pathlib import Path

import numpy as np
import torch
from transformers import AutoModel

from graphloss.data.files import Columns
from graphloss.data.splits import read_all
from graphloss.data.writing import write_table
from graphloss.models.encoder import load_encoder

NAMES = ("mr", "r8", "r52", "ohsumed", "20ng")
WHOLE = "r52"  # with all its documents, too
TRAINING, VALIDATION, HELD_OUT = 2_000, 300, 1_500
FOLDER = Path("runs/development")


def write_development(name: str, folder: Path, training: int | None = TRAINING) -> dict[str, int]:
    """Write the splits of a set; returns their sizes. A class without training documents is left out.

    `training` is the number of training documents; None for all that are not held out.
    """
    found = read_all(name, Columns())
    texts, labels = (
        [*getattr(found["train"], column), *getattr(found["validation"], column)] for column in ("texts", "labels")
    )
    order = np.random.default_rng(0).permutation(len(texts)).tolist()
    held_out = min(HELD_OUT, (len(order) - VALIDATION) // 3)
    parts = {
        "test": order[:held_out],
        "validation": order[held_out : held_out + VALIDATION],
        "train": order[held_out + VALIDATION :][:training],
    }
    known = {labels[row] for row in parts["train"]}
    folder.mkdir(parents=True, exist_ok=True)
    for split, rows in parts.items():
        kept = [row for row in rows if labels[row] in known]
        write_table(
            folder / f"{split}.parquet", {"text": [texts[row] for row in kept], "label": [labels[row] for row in kept]}
        )
        parts[split] = kept
    return {split: len(rows) for split, rows in parts.items()}


def write_encoders(folder: Path) -> None:
    """Write MiniLM with poor first embeddings, pooled as before."""
    source = load_encoder("minilm").location
    torch.manual_seed(0)
    untrained = AutoModel.from_config(AutoModel.from_pretrained(source).config)
    backwards = AutoModel.from_pretrained(source)
    backwards.encoder.layer = backwards.encoder.layer[::-1]
    for name, model in (("random", untrained), ("reversed", backwards)):
        shutil.copytree(source, folder / name, dirs_exist_ok=True)
        model.save_pretrained(folder / name)


def main() -> None:
    for name in NAMES:
        print(name, write_development(name, FOLDER / name))
    print(WHOLE, write_development(WHOLE, FOLDER / f"{WHOLE}-all", training=None))
    write_encoders(FOLDER / "encoders")


if __name__ == "__main__":
    main()
