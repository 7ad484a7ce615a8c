"""What the page of one run shows, as plain data."""

import json
import shlex
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet
from jaxtyping import Int

from graphloss.errors import InputError
from graphloss.inference.audit import audit, votes_against
from graphloss.inference.document_graph import DocumentGraph
from graphloss.inference.index import Index
from graphloss.inference.index_files import fingerprint
from graphloss.report.intervals import intervals
from graphloss.report.moments import batch_graphs
from graphloss.report.places import places
from graphloss.training.run_directory import RunDirectory

LONGEST = 500  # characters of a text
SUSPICIOUS = 25
MOST_AUDITED = 50_000
BINS = 15
CURVES = ("loss", "graph_loss", "metric_loss", "ce_loss", "eval_accuracy", "eval_macro_f1", "learning_rate")


class FinishedRun:
    """A run directory, read.

    Args:
        path: of the directory.

    Raises:
        InputError: where it holds no finished run of an encoder or a system.
    """

    def __init__(self, path: Path) -> None:
        self.directory = RunDirectory(path)
        if not self.directory.metrics.exists() or not self.directory.predictions.exists():
            raise InputError(f"{path} holds no finished run; give the --output_dir of a finished graphloss train")
        self.name = path.resolve().name
        self.metrics: dict[str, Any] = json.loads(self.directory.metrics.read_text())
        self.config = self.directory.saved_config()
        self.predictions = pyarrow.parquet.read_table(self.directory.predictions).to_pydict()
        self.split = "test" if "test" in self.metrics else "validation"
        self.names = list(self.metrics[self.split].get("by_class") or self.metrics["validation"]["by_class"])

    @property
    def history(self) -> list[dict[str, Any]]:
        """What was logged, step by step; empty for what was not trained in steps."""
        return self.directory.read_history()

    def rows(self, split: str) -> Int[np.ndarray, " n"]:
        """Where the documents of a split stand among the predictions."""
        return np.flatnonzero(np.asarray(self.predictions["split"]) == split)

    def classes(self, column: str, split: str) -> Int[np.ndarray, " n"]:
        """A column of labels of a split, as numbers; -1 for none."""
        number = {name: position for position, name in enumerate(self.names)}
        values = self.predictions[column]
        return np.array([number.get(values[row], -1) for row in self.rows(split)], dtype=np.int64)

    def right(self, split: str) -> np.ndarray:
        """(n,) whether the head was right about each labelled document of a split."""
        labels, predictions = self.classes("label", split), self.classes("prediction", split)
        return (labels == predictions)[labels >= 0]

    def curves(self) -> dict[str, list[list[float]]]:
        """By name, steps and values."""
        found = {
            name: [[entry["step"], entry[name]] for entry in self.history if entry.get(name) is not None]
            for name in CURVES
        }
        return {name: points for name, points in found.items() if points}

    def scores(self) -> list[dict[str, Any]]:
        """A row for each split and each who answers: the head, the head with the graph, the floor."""
        columns = {
            "head": ("prediction", self.metrics),
            "with the graph": ("graph_prediction", self.metrics.get("graph")),
        }
        columns["frozen encoder, linear head"] = ("", self.metrics.get("floor"))
        found = []
        for split in ("test", "validation"):
            for name, (column, metrics) in columns.items():
                if metrics is None or split not in metrics or not metrics[split].get("n"):
                    continue
                row = {"split": split, "name": name, "n": metrics[split]["n"]}
                row |= {score: metrics[split][score] for score in ("accuracy", "macro_f1", "nll", "ece")}
                if column in self.predictions:
                    labels, given = self.classes("label", split), self.classes(column, split)
                    known = labels >= 0
                    row["intervals"] = intervals(labels[known], given[known], len(self.names))
                found.append(row)
        return found


def view(run: FinishedRun) -> dict[str, Any]:
    """Everything that the page of a run shows."""
    graph = _graph_of(run.directory)
    documents, about = _documents(run, graph)
    return {
        "name": run.name,
        "names": run.names,
        "split": run.split,
        "scores": run.scores(),
        "curves": run.curves(),
        "by_class": run.metrics[run.split].get("by_class", {}),
        "confusion": {name: _confusion(run, column) for name, column in _answers(run).items()},
        "calibration": {name: _calibration(run, column) for name, column in _answers(run).items()},
        "documents": documents,
        "map": about,
        "batch": batch_graphs(run.directory.record, run.classes("label", "validation")),
        "suspicious": [] if graph is None else _suspicious(graph.index),
        "settings": _shown(run.config),
        "environment": _shown(_read(run.directory.environment)),
        "command": f"graphloss train --config {shlex.quote(str(run.directory.config))} --output_dir NEW",
        "seconds": run.metrics.get("seconds"),
    }


def _answers(run: FinishedRun) -> dict[str, str]:
    both = {"head": "prediction", "with the graph": "graph_prediction"}
    return {name: column for name, column in both.items() if column in run.predictions}


def _confusion(run: FinishedRun, column: str) -> list[list[int]]:
    labels, given = run.classes("label", run.split), run.classes(column, run.split)
    known, size = labels >= 0, len(run.names)
    return np.bincount(labels[known] * size + given[known], minlength=size**2).reshape(size, size).tolist()


def _calibration(run: FinishedRun, column: str) -> list[dict[str, float]]:
    """Bins of equal width: mean confidence, accuracy and number of documents."""
    rows = run.rows(run.split)
    confidence = np.asarray(run.predictions[column.replace("prediction", "probability")], dtype=float)[rows]
    labels = run.classes("label", run.split)
    right = run.classes(column, run.split) == labels
    number = np.minimum((confidence * BINS).astype(int), BINS - 1)
    bins = [(labels >= 0) & (number == each) for each in range(BINS)]
    return [
        {"confidence": float(confidence[own].mean()), "accuracy": float(right[own].mean()), "n": int(own.sum())}
        for own in bins
        if own.any()
    ]


def _documents(run: FinishedRun, graph: DocumentGraph | None) -> tuple[dict[str, list], dict[str, Any] | None]:
    """All documents as columns, those of the index first, and where they lie."""
    splits = ["validation", "test"] if "test" in run.metrics else ["validation"]
    kept = run.directory.record / "documents.npz"
    found = dict(np.load(kept)) if kept.exists() else {}
    columns: dict[str, list] = {name: [] for name in ("split", "text", "label", "prediction", "probability", "told_by")}
    order = []
    if graph is not None and len(found.get("after_train", ())) == len(graph.index):
        index = graph.index
        _extend(columns, "train", index.documents.texts, index.labels.tolist())
        order.append("train")
    for split in splits:
        rows = run.rows(split)
        texts = [run.predictions["text"][row] for row in rows]
        _extend(columns, split, texts, run.classes("label", split).tolist())
        columns["prediction"][-len(rows) :] = run.classes("prediction", split).tolist()
        columns["probability"][-len(rows) :] = [round(run.predictions["probability"][row], 3) for row in rows]
        if "train" in order and f"rows_{split}" in found:
            told = zip(found[f"rows_{split}"].tolist(), found[f"shares_{split}"].astype(float).round(3), strict=True)
            columns["told_by"][-len(rows) :] = [
                [[row, float(share)] for row, share in zip(rows_, shares, strict=True)] for rows_, shares in told
            ]
        order.append(split)
    if not found or any(f"after_{split}" not in found for split in order):
        return columns, None
    after = np.concatenate([found[f"after_{split}"] for split in order])
    before = None
    if all(f"before_{split}" in found for split in order):
        before = np.concatenate([found[f"before_{split}"] for split in order])
    return columns, {name: values.ravel().tolist() for name, values in places(after, before).items()}


def _extend(columns: dict[str, list], split: str, texts: list[str], labels: list[int]) -> None:
    columns["split"] += [split] * len(texts)
    columns["text"] += [text[:LONGEST] + ("…" if len(text) > LONGEST else "") for text in texts]
    columns["label"] += labels
    for name in ("prediction", "probability", "told_by"):
        columns[name] += [None] * len(texts)


def _suspicious(index: Index) -> list[dict[str, Any]]:
    """The labels of training documents that all others contradict most."""
    if not 2 < len(index) <= MOST_AUDITED or len(index.labelled) < len(index):
        return []
    audited = audit(index)
    against = votes_against(index, audited.kernel)
    return [
        {
            "row": row,
            "suggested": int(audited.suggested[row]),
            "score": round(float(audited.score[row]), 3),
            "against": [
                [int(other), round(float(share), 3)]
                for other, share in zip(against.rows[row], against.shares[row], strict=True)
                if share > 0
            ],
        }
        for row in audited.order()[:SUSPICIOUS].tolist()
    ]


def _graph_of(directory: RunDirectory) -> DocumentGraph | None:
    if not directory.index.exists():
        return None
    return DocumentGraph.load(directory.index, fingerprint(directory.model))


def _read(file: Path) -> dict[str, Any]:
    return json.loads(file.read_text()) if file.exists() else {}


def _shown(settings: dict[str, Any]) -> list[list[str]]:
    flat: dict[str, Any] = {}
    for name, value in settings.items():
        flat |= {f"{name} {key}": each for key, each in value.items()} if isinstance(value, dict) else {name: value}
    return [[name, str(value)] for name, value in flat.items()]
