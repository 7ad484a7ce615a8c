"""Where documents lie on a map: two dimensions of many, the same before training and after."""

from typing import Any

import numpy as np
from jaxtyping import Float, Int

ANCHORS = 1_000  # documents that a map is made of; the others are placed among them
NEAREST = 5
GRID = 1_000  # places along a side
BLOCK = 4_096


def places(
    after: Float[np.ndarray, "n k"], before: Float[np.ndarray, "n k"] | None, seed: int = 0
) -> dict[str, Int[np.ndarray, "n 2"]]:
    """Coordinates from 0 to 1,000 of all documents, by moment: "after" and, where it is known, "before".

    t-SNE of a sample, each document of it as it was before and as it is after, so that both are places of one map;
    every other one lies where its nearest in the sample lie.

    Args:
        after: (n, k) principal components after training.
        before: (n, k) before it.
        seed: of the sample.

    Source: van der Maaten & Hinton (2008).
    """
    moments = {"after": after.astype(np.float32)} | ({} if before is None else {"before": before.astype(np.float32)})
    size = len(after)
    if size < 4:
        return {name: np.stack([np.arange(size), np.arange(size)], axis=1) for name in moments}
    rows = np.random.default_rng(seed).permutation(size)[:ANCHORS]
    anchors = np.concatenate([points[rows] for points in moments.values()])
    mapped, width = _map(anchors, seed)
    found = {name: _among(points, anchors, mapped, width) for name, points in moments.items()}
    low = np.min([values.min(axis=0) for values in found.values()], axis=0)
    span = np.maximum(np.max([values.max(axis=0) for values in found.values()], axis=0) - low, 1e-9)
    return {name: np.round((values - low) / span * GRID).astype(int) for name, values in found.items()}


def _map(anchors: Float[np.ndarray, "a k"], seed: int) -> tuple[np.ndarray, float]:
    """(a, 2) places of the anchors, and the distance at which they are neighbours."""
    from sklearn.manifold import TSNE
    from sklearn.neighbors import NearestNeighbors

    perplexity = min(30.0, (len(anchors) - 1) / 3.0)
    mapped = TSNE(perplexity=perplexity, init="pca", random_state=seed).fit_transform(anchors)
    distances, _ = NearestNeighbors(n_neighbors=min(NEAREST, len(anchors) - 1)).fit(anchors).kneighbors()
    return mapped, float(max(np.median(distances), 1e-6))


def _among(points: np.ndarray, anchors: np.ndarray, mapped: np.ndarray, width: float) -> Float[np.ndarray, "n 2"]:
    """The mean place of the nearest anchors, weighted by a Gaussian of their distance; an anchor lies at its own."""
    from sklearn.neighbors import NearestNeighbors

    search = NearestNeighbors(n_neighbors=min(NEAREST, len(anchors))).fit(anchors)
    found = []
    for start in range(0, len(points), BLOCK):
        distances, rows = search.kneighbors(points[start : start + BLOCK])
        relative = (distances - distances[:, :1]) / width
        weights: Any = np.exp(-8.0 * relative**2)
        found.append((mapped[rows] * (weights / weights.sum(axis=1, keepdims=True))[..., None]).sum(axis=1))
    return np.concatenate(found)
