"""The graph of the same few documents at several moments of training."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Int

from graphloss.graph.affinity import scale_to_unit, transition_rows
from graphloss.graph.bandwidth import bandwidth_sqrt

DRAWN = 96  # documents
EDGES = 200


def batch_graphs(record: Path, labels: Int[np.ndarray, " n"]) -> dict[str, Any] | None:
    """The graph of a batch before training, half-way and at the end.

    Args:
        record: folder that training wrote embeddings into.
        labels: classes of the validation documents; below 0 for none.

    Returns:
        "rows", the documents, those of a class together; "labels"; and for each of "moments" its "step", the kernel
        width, "shares" (96 x 96 numbers from 0 to 255, square roots of the transition's entries, for the eye), "places"
        in two dimensions, the strongest "edges", and "inside", the mean weight that a document gives to its own class.
        None where nothing was recorded.
    """
    files = sorted(record.glob("step-*.npy"))
    if not files or not (record / "rows.npy").exists():
        return None
    kept = np.load(record / "rows.npy")
    known = np.flatnonzero(labels[kept] >= 0)
    drawn = known[np.random.default_rng(0).permutation(len(known))[:DRAWN]]
    drawn = drawn[labels[kept[drawn]].argsort(kind="stable")]
    if len(drawn) < 3:
        return None
    own = labels[kept[drawn]]
    chosen = [files[place] for place in sorted({0, (len(files) - 1) // 2, len(files) - 1})]
    points = [scale_to_unit(torch.from_numpy(np.load(file)[drawn].astype(np.float32))) for file in chosen]
    directions = torch.pca_lowrank(torch.cat(points), q=2, niter=4)[2]
    graphs = [_graph(each, own, each @ directions) for each in points]
    moments = [{"step": int(file.stem.split("-")[1])} | graph for file, graph in zip(chosen, graphs, strict=True)]
    return {"rows": kept[drawn].tolist(), "labels": own.tolist(), "moments": moments}


def _graph(points: torch.Tensor, labels: np.ndarray, places: torch.Tensor) -> dict[str, Any]:
    width = bandwidth_sqrt(points)
    shares = transition_rows(points, torch.arange(len(points)), width).numpy()
    same = labels[:, None] == labels
    both = np.triu(shares + shares.T, 1)
    strongest = np.argsort(-both, axis=None)[:EDGES]
    first, second = np.unravel_index(strongest, both.shape)
    return {
        "bandwidth": width,
        "inside": float((shares * same).sum(axis=1).mean()),
        "shares": np.round(255.0 * np.sqrt(shares / shares.max())).astype(int).ravel().tolist(),
        "places": np.round(places.numpy(), 4).tolist(),
        "edges": np.stack([first, second], axis=1).tolist(),
    }
