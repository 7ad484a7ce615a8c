"""Labels made wrong on purpose, and how many of them an audit finds.

Run `GRAPHLOSS_DATA=FOLDER python benchmarks/noise.py flip --data ohsumed --rate 0.05 --seed 0 --output COPY` for a copy
whose training labels are wrong in places; then `graphloss audit --data COPY --output audit.csv`; then
`python benchmarks/noise.py check --audit audit.csv --copy COPY` for the precision of its first 100 rows.
"""

import argparse
import csv
import json
from pathlib import Path

import numpy as np
from sklearn.linear_model import LogisticRegression

from graphloss.data.documents import label_ids, label_names
from graphloss.data.files import Columns
from graphloss.data.splits import read_all
from graphloss.data.writing import write_table

TRUTH = "flipped.json"
WEAK = 0.05  # share of the documents, five a class at least, that the weak classifier is fitted to


def flip_uniformly(labels: np.ndarray, rate: float, seed: int) -> np.ndarray:
    """Labels of which a share is replaced by any other one."""
    generator = np.random.default_rng(seed)
    classes, size = int(labels.max()) + 1, len(labels)
    rows = generator.permutation(size)[: round(rate * size)]
    flipped = labels.copy()
    flipped[rows] = (labels[rows] + generator.integers(1, classes, len(rows))) % classes
    return flipped


def flip_as_mistaken(labels: np.ndarray, rate: float, seed: int, embeddings: np.ndarray) -> np.ndarray:
    """Labels of which a share is replaced by what a weak classifier takes documents of their class for."""
    generator = np.random.default_rng(seed)
    classes, size = int(labels.max()) + 1, len(labels)
    seen = generator.permutation(size)[: max(5 * classes, int(WEAK * size))]
    weak = LogisticRegression(max_iter=200).fit(embeddings[seen], labels[seen])
    taken_for = weak.predict_proba(embeddings)
    confusions = np.full((classes, classes), 1e-3)
    for label in range(classes):
        confusions[label, weak.classes_] += taken_for[labels == label].mean(axis=0)
    np.fill_diagonal(confusions, 0.0)
    confusions /= confusions.sum(axis=1, keepdims=True)
    rows = generator.permutation(size)[: round(rate * size)]
    flipped = labels.copy()
    flipped[rows] = [generator.choice(classes, p=confusions[label]) for label in labels[rows]]
    return flipped


def flip(data: str, rate: float, seed: int, output: Path) -> None:
    train = read_all(data, Columns())["train"]
    names = label_names(train)
    labels = np.asarray(label_ids(train, names))
    flipped = flip_uniformly(labels, rate, seed)
    write_table(output / "train.parquet", {"text": train.texts, "label": [names[label] for label in flipped]})
    rows = np.flatnonzero(flipped != labels).tolist()
    (output / TRUTH).write_text(json.dumps(rows))
    print(f"{len(rows)} of {len(labels)} labels flipped: {output}")


def check(audit: Path, copy: Path, first: int) -> None:
    flipped = set(json.loads((copy / TRUTH).read_text()))
    with audit.open(encoding="utf-8", newline="") as file:
        rows = [int(row["row"]) for row in csv.DictReader(file)][:first]
    print(f"precision of the first {first} rows: {np.mean([row in flipped for row in rows]):.2f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    verbs = parser.add_subparsers(dest="verb", required=True)
    flipping = verbs.add_parser("flip")
    flipping.add_argument("--data", required=True)
    flipping.add_argument("--rate", type=float, default=0.05)
    flipping.add_argument("--seed", type=int, default=0)
    flipping.add_argument("--output", type=Path, required=True)
    checking = verbs.add_parser("check")
    checking.add_argument("--audit", type=Path, required=True)
    checking.add_argument("--copy", type=Path, required=True)
    checking.add_argument("--first", type=int, default=100)
    flags = vars(parser.parse_args())
    {"flip": flip, "check": check}[flags.pop("verb")](**flags)


if __name__ == "__main__":
    main()
