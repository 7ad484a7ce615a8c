"""What a run says of its validation and test documents: scores, and a prediction for each."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import pyarrow.parquet
from jaxtyping import Float

from graphloss.evaluation.metrics import classification_metrics, scores_by_class, softmax
from graphloss.evaluation.silhouette import macro_silhouette
from graphloss.inference.classifier import TrainedClassifier
from graphloss.run.documents import LabelledSplits
from graphloss.training.run_directory import RunDirectory, write_json

Probabilities = dict[str, Float[np.ndarray, "n C"]]  # by split


def scores(
    data: LabelledSplits, probabilities: Probabilities, silhouettes: dict[str, float] | None = None
) -> dict[str, Any]:
    """Scores by split: of all documents, and under "by_class" those of each class.

    Args:
        data: the documents.
        probabilities: what is predicted.
        silhouettes: macro-silhouette of the embeddings by split, where there are embeddings.
    """
    found: dict[str, Any] = {}
    for split, values in probabilities.items():
        labels = np.asarray(data.ids[split])
        found[split] = classification_metrics(values, labels)
        if silhouettes is not None and np.isfinite(silhouettes[split]):
            found[split]["macro_silhouette"] = silhouettes[split]
        found[split]["by_class"] = scores_by_class(values.argmax(axis=1), labels, data.names)
    return found


def write_predictions(file: Path, data: LabelledSplits, head: Probabilities, mixed: Probabilities) -> None:
    """Write a Parquet file with a row for each document, so that it appears whole.

    Args:
        file: to be written.
        data: the documents.
        head: what the head alone says.
        mixed: what the head and the graph say; empty without a graph.
    """
    tables = []
    for split, values in head.items():
        documents = data.documents(split)
        columns = {"split": [split] * len(documents), "row": list(range(len(documents)))}
        columns |= {"text": documents.texts, "label": documents.labels, **_decided(values, data.names, "")}
        if split in mixed:
            columns |= _decided(mixed[split], data.names, "graph_")
        tables.append(pyarrow.table(columns))
    partial = file.with_suffix(".partial")
    pyarrow.parquet.write_table(pyarrow.concat_tables(tables), partial)
    partial.replace(file)


def add_test(run: Path, data: LabelledSplits) -> None:
    """Score a finished run on test documents that it has not seen, and add them to its files.

    Args:
        run: its directory.
        data: documents with a test split.
    """
    directory, classifier = RunDirectory(run), TrainedClassifier.load(run)
    documents = data.documents("test")
    answers = classifier.answer(documents)
    head = {"test": softmax(answers.logits.numpy())}
    silhouettes = {"test": macro_silhouette(answers.embeddings.numpy(), np.asarray(data.ids["test"]))}
    metrics = json.loads(directory.metrics.read_text())
    mixed: Probabilities = {}
    if directory.index.exists():
        mixed = {"test": classifier.ask_graph(documents, answers).probabilities}
        metrics["graph"] |= scores(data, mixed)
    before = pyarrow.parquet.read_table(directory.predictions)
    write_predictions(directory.predictions, data, head, mixed)
    both = [before, pyarrow.parquet.read_table(directory.predictions)]
    pyarrow.parquet.write_table(pyarrow.concat_tables(both), directory.predictions)
    write_json(directory.metrics, metrics | scores(data, head, silhouettes))


def _decided(probabilities: Float[np.ndarray, "n C"], names: list[str], prefix: str) -> dict[str, Any]:
    return {
        f"{prefix}prediction": [names[index] for index in probabilities.argmax(axis=1)],
        f"{prefix}probability": probabilities.max(axis=1),
    }
