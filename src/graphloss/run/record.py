"""What the end of a run keeps for its report: where all documents lie, and whose labels they received."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from graphloss.inference.document_graph import DocumentGraph
from graphloss.inference.index import Views

COMPONENTS = 32
NEIGHBOURS = 3
TILE = 4_000_000  # shares formed at once, however many documents there are

Embeddings = dict[str, Float[Tensor, "_ d"]]  # by split


def write_record(
    folder: Path,
    after: Embeddings,
    before: Embeddings,
    graph: DocumentGraph | None,
    views: dict[str, Views],
) -> None:
    """Write `documents.npz`: of each split the principal components of the unit embeddings after training and, where
    they are known, before it, in the same directions; and the training documents with the largest shares in what the
    graph says of a document.

    Args:
        folder: to write into.
        after: embeddings of all documents by the trained encoder.
        before: by the encoder as it was; may be empty.
        graph: of the run.
        views: of the documents that were not trained on, where there is a graph.
    """
    kept: dict[str, Any] = {}
    moments = {"after": _unit(after), "before": _unit(before)}
    directions = _directions(torch.cat([points for found in moments.values() for points in found.values()]))
    for moment, found in moments.items():
        for split, points in found.items():
            kept[f"{moment}_{split}"] = (points @ directions).numpy().astype(np.float16)
    if graph is not None:
        for split, each in views.items():
            kept[f"rows_{split}"], kept[f"shares_{split}"] = _neighbours(graph, each)
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "documents.partial").open("wb") as content:
        np.savez_compressed(content, **kept)
    (folder / "documents.partial").replace(folder / "documents.npz")
    for left in folder.glob("*.partial"):  # by a process that was killed
        left.unlink()


def _unit(embeddings: Embeddings) -> Embeddings:
    return {split: torch.nn.functional.normalize(points.float()) for split, points in embeddings.items()}


def _directions(points: Float[Tensor, "n d"]) -> Float[Tensor, "d k"]:
    centred = points - points.mean(dim=0)
    _, directions = torch.linalg.eigh(centred.mT @ centred)
    return directions[:, -COMPONENTS:].flip(1)


def _neighbours(graph: DocumentGraph, views: Views) -> tuple[np.ndarray, np.ndarray]:
    """(n, k) row numbers in the index and shares."""
    rows, shares = [], []
    height = max(TILE // len(graph.index), 1)
    for start in range(0, len(views.embeddings), height):
        tile = slice(start, start + height)
        reach = graph.reach(Views(views.embeddings[tile], views.words[tile]))
        best = (reach.embeddings + reach.words).topk(min(NEIGHBOURS, len(graph.index)), dim=1)
        rows.append(best.indices.numpy().astype(np.int32))
        shares.append(best.values.numpy().astype(np.float16))
    return np.concatenate(rows), np.concatenate(shares)
