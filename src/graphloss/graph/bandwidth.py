"""Kernel widths (sigma) computed from embeddings, without training or search."""

from functools import lru_cache

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from graphloss.graph.affinity import scale_to_unit, squared_distances

MAX_EXACT = 2_000


def bandwidth_sqrt(embeddings: Float[Tensor, "B d"], *, seed: int = 0) -> float:
    """The width of G-Loss-SQRT: sigma = sqrt(d1 / 3), d1 the median distance over all pairs of unit embeddings.

    The median is taken as the released code takes it: over the full matrix of distances, its zero diagonal included,
    the lower one of two middle values. The derivation in the paper speaks of the squared distance, its rule and its
    code of the distance; this follows the rule.

    Args:
        embeddings: (B, d) float. Above 2,000 rows a sample of 2,000 is taken, so that the cost does not grow with the
            square of the number of documents.
        seed: of that sample.

    Returns:
        sigma, in the unit of the unit embeddings. 1.0 where all documents coincide, for there any width is as good.

    Source: Sharma, Agarwal & Kumar (2025), G-Loss-SQRT.
    """
    points = _sample(embeddings, seed)
    return width_from_median(squared_distances(points, points))


def width_from_median(squared: Float[Tensor, "B B"]) -> float:
    """The width of `bandwidth_sqrt`, from all squared distances of the unit embeddings."""
    size = len(squared)
    if squared.device.type == "cpu":
        # Every pair stands in the matrix twice, and the diagonal is zero: half of the values give the same median.
        pairs = squared.numpy().ravel()[_upper_triangle(size)]
        rank = ((size * size - 1) // 2 - size) // 2
        median = float(np.partition(pairs, rank)[rank]) if rank >= 0 else 0.0
    else:
        median = squared.fill_diagonal_(0.0).flatten().median().item()
    return (median**0.5 / 3.0) ** 0.5 if median > 0 else 1.0


@lru_cache(maxsize=4)
def _upper_triangle(size: int) -> np.ndarray:
    return np.flatnonzero(np.triu(np.ones((size, size), dtype=bool), 1))


def bandwidth_dicm(embeddings: Float[Tensor, "B d"], labels: Int[Tensor, " B"], *, seed: int = 0) -> float:
    """A third of the smallest distance between two documents of different label ("mst" in the released code).

    Args:
        embeddings: (B, d) float; sampled above 2,000 rows as in `bandwidth_sqrt`.
        labels: (B,) int64; rows labelled -100 are left out.
        seed: of the sample.

    Returns:
        sigma. Where the smallest such distance is zero, the smallest one above zero counts; where no two labels
        differ, the median distance; 1.0 where that is zero too.

    Source: the released code of Sharma, Agarwal & Kumar (2025).
    """
    known = labels != -100
    embeddings, labels = embeddings[known], labels[known]
    points, labels = _sample(embeddings, seed), _sample_rows(labels, seed)
    distances = squared_distances(points, points).fill_diagonal_(0.0).sqrt()
    between = distances[labels[:, None] != labels]
    between = between[between > 0]
    smallest = between.min() if len(between) else distances.flatten().median()
    return smallest.item() / 3.0 if smallest > 0 else 1.0


def _sample(embeddings: Float[Tensor, "B d"], seed: int) -> Float[Tensor, "n d"]:
    points = _sample_rows(embeddings.detach(), seed)
    return scale_to_unit(points if points.dtype == torch.float64 else points.float())[0]


def _sample_rows(rows: Tensor, seed: int) -> Tensor:
    if len(rows) <= MAX_EXACT:
        return rows
    order = torch.randperm(len(rows), generator=torch.Generator().manual_seed(seed))
    return rows[order[:MAX_EXACT].to(rows.device)]
