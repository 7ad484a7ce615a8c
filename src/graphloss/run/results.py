"""What a run says of its validation and test documents: scores, and a prediction for each."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import pyarrow.parquet
from jaxtyping import Float

from graphloss.evaluation.metrics import classification_metrics, scores_by_class
from graphloss.run.documents import LabelledSplits

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


def _decided(probabilities: Float[np.ndarray, "n C"], names: list[str], prefix: str) -> dict[str, Any]:
    return {
        f"{prefix}prediction": [names[index] for index in probabilities.argmax(axis=1)],
        f"{prefix}probability": probabilities.max(axis=1),
    }
