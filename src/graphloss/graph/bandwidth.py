"""Kernel widths (sigma) computed from embeddings, without gradient."""

from functools import lru_cache

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from graphloss.graph.affinity import full_precision, scale_to_unit, squared_distances

MAX_EXACT = 2_000
SAMPLE = [96, 384]
SAMPLED = 4_096
NEIGHBOUR = 7
GRID = 24


def bandwidth_sqrt(embeddings: Float[Tensor, "B d"], *, seed: int = 0) -> float:
    """The width of G-Loss-SQRT: sigma = sqrt(d1 / 3), d1 the median distance over all pairs of unit embeddings.

    The median is taken as the released code takes it: over the full matrix of distances, its zero diagonal included,
    the lower one of two middle values. The derivation in the paper speaks of the squared distance, its rule and its
    code of the distance; this follows the rule.

    Args:
        embeddings: (B, d) float. Of more than 2,000 rows, the distances between 96 and 384 others drawn at random
            are taken, so that the cost does not grow with the square of the number of documents.
        seed: of that draw.

    Returns:
        sigma, in the unit of the unit embeddings. 1.0 where all documents coincide, for there any width is as good.

    Raises:
        ValueError: where embeddings are not finite.

    Source: Sharma, Agarwal & Kumar (2025), G-Loss-SQRT.
    """
    with full_precision(embeddings):
        points = _unit_sample(embeddings, seed, sum(SAMPLE))
        if len(embeddings) <= MAX_EXACT:
            return width_from_median(squared_distances(points, points))
        return _width(_median(squared_distances(*points.split(SAMPLE))))


def width_from_median(squared: Float[Tensor, "B B"]) -> float:
    """The width of `bandwidth_sqrt`, from all squared distances of the unit embeddings."""
    size = len(squared)
    if squared.device.type != "cpu":
        return _width(float(squared.fill_diagonal_(0.0).median()))
    # Every pair stands in the matrix twice, and the diagonal is zero: half of the values give the same median.
    pairs = squared.numpy().ravel().take(_upper_triangle(size))
    rank = ((size * size - 1) // 2 - size) // 2
    return _width(_smallest(pairs, rank) if rank >= 0 else 0.0)


def _width(median: float) -> float:
    return (median**0.5 / 3.0) ** 0.5 if median > 0 else 1.0


def _median(values: Tensor) -> float:
    if values.device.type != "cpu":
        return float(values.median())
    return _smallest(values.numpy().ravel(), (values.numel() - 1) // 2)


@lru_cache(maxsize=4)
def _upper_triangle(size: int) -> np.ndarray:
    return np.flatnonzero(np.triu(np.ones((size, size), dtype=bool), 1))


def _smallest(values: np.ndarray, rank: int) -> float:
    """The value of a rank from 0, selected among those between two bounds that a sample gives."""
    if len(values) > SAMPLED:
        sample = np.sort(values[:: max(len(values) // SAMPLED, 8)])
        place, margin = int(rank / len(values) * len(sample)), int(2.0 * len(sample) ** 0.5)  # four standard errors
        low, high = sample[max(place - margin, 0)], sample[min(place + margin, len(sample) - 1)]
        below = int(np.count_nonzero(values < low))
        between = values[(values >= low) & (values <= high)]
        if below <= rank < below + len(between):
            values, rank = between, rank - below
    return float(np.partition(values, rank)[rank])


def bandwidth_dicm(embeddings: Float[Tensor, "B d"], labels: Int[Tensor, " B"], *, seed: int = 0) -> float:
    """A third of the smallest distance between two documents of different label ("mst" in the released code).

    Args:
        embeddings: (B, d) float. Of more than 2,000 rows with a label, a sample of 2,000 is taken.
        labels: (B,) int64; rows labelled -100 are left out.
        seed: of the sample.

    Returns:
        sigma. Where the smallest such distance is zero, the smallest one above zero counts; where no two labels
        differ, the median distance; 1.0 where that is zero too.

    Raises:
        ValueError: where embeddings are not finite.

    Source: the released code of Sharma, Agarwal & Kumar (2025).
    """
    squared, labels = _labelled_distances(embeddings, labels, seed)
    if len(labels) == 0:
        return 1.0
    distances = squared.sqrt()
    between = distances[labels[:, None] != labels]
    between = between[between > 0]
    smallest = between.min() if len(between) else distances.flatten().median()
    return smallest.item() / 3.0 if smallest > 0 else 1.0


def bandwidth_loo(embeddings: Float[Tensor, "B d"], labels: Int[Tensor, " B"], *, seed: int = 0) -> float:
    """The width that maximizes the leave-one-out log-likelihood of the labels.

    Each labelled document in turn is inferred from all others: the likelihood of its label is the share of its
    row-normalized affinities that goes to documents of its class. Labels that no other document has leave the mean.
    The maximum is taken over 24 widths from a hundredth to ten times the median distance, evenly spaced in their
    logarithms, and then over 24 between the neighbours of the best. Of equally likely ones the widest is taken.

    Args:
        embeddings: (B, d) float. Of more than 2,000 rows with a label, a sample of 2,000 is taken.
        labels: (B,) int64; rows labelled -100 are left out.
        seed: of the sample.

    Returns:
        sigma, in the unit of the unit embeddings; that of `bandwidth_sqrt` where there is nothing to choose by: no two
        documents of one class, or one class alone.

    Raises:
        ValueError: where embeddings are not finite.

    Source: Zhu, Ghahramani & Lafferty (2003) choose widths by the entropy of what is inferred; the likelihood of what
    is left out is the criterion of Hinton & Roweis (2002), stochastic neighbour embedding, and Goldberger et al.
    (2004), neighbourhood components analysis.
    """
    squared, labels = _labelled_distances(embeddings, labels, seed)
    same = (labels[:, None] == labels).fill_diagonal_(False)
    taken = same.any(dim=1)
    if not taken.any() or len(labels.unique()) < 2:
        return bandwidth_sqrt(embeddings, seed=seed)
    others = squared.fill_diagonal_(torch.inf)[taken]
    mates = others.masked_fill(~same[taken], torch.inf)

    def log_likelihood(width: float) -> float:
        scale = -0.5 / width**2
        return float((torch.logsumexp(mates * scale, 1) - torch.logsumexp(others * scale, 1)).mean())

    centre = width_from_median(squared.fill_diagonal_(0.0)) ** 2 * 3.0
    widths = np.geomspace(10.0 * centre, 0.01 * centre, GRID)
    best = int(np.argmax([log_likelihood(width) for width in widths]))
    finer = np.geomspace(widths[max(best - 1, 0)], widths[min(best + 1, GRID - 1)], GRID)
    return float(max([*finer, widths[best]], key=log_likelihood))


def local_widths(embeddings: Float[Tensor, "B d"], *, neighbour: int = NEIGHBOUR) -> Float[Tensor, " B"]:
    """A width for each document: the distance to its k-th nearest neighbour among unit embeddings.

    With w_ij = exp(-|x_i - x_j|^2 / (2 sigma_i sigma_j)) sparse regions get wide kernels and dense ones narrow ones.

    Args:
        embeddings: (B, d) float, B > 0.
        neighbour: k; with fewer documents, the farthest one counts.

    Returns:
        (B,), in the unit of the unit embeddings, constant. Where k documents coincide with one, the smallest width
        above zero of all; 1.0 where all coincide.

    Raises:
        ValueError: where embeddings are not finite.

    Source: Zelnik-Manor & Perona (2004), self-tuning spectral clustering; k = 7. They write exp(-d^2 / (s_i s_j)); the
    factor of two is this project's, so that equal widths are the fixed one.
    """
    with full_precision(embeddings):
        points = scale_to_unit(embeddings)
        rank = min(neighbour + 1, len(points))  # the nearest is the document itself
        nearest = [squared_distances(rows, points).kthvalue(rank, dim=1).values for rows in points.split(MAX_EXACT)]
        widths = torch.cat(nearest).sqrt_()
        smallest = torch.where(widths > 0, widths, torch.inf).amin()
        return torch.where(widths > 0, widths, torch.where(smallest < torch.inf, smallest, 1.0))


def _labelled_distances(embeddings: Tensor, labels: Tensor, seed: int) -> tuple[Tensor, Tensor]:
    known = labels != -100
    with full_precision(embeddings):
        points = _unit_sample(embeddings[known], seed, MAX_EXACT)
        return squared_distances(points, points).fill_diagonal_(0.0), _sampled(labels[known], seed, MAX_EXACT)


def _unit_sample(embeddings: Tensor, seed: int, size: int) -> Tensor:
    return scale_to_unit(_sampled(embeddings, seed, size))


def _sampled(rows: Tensor, seed: int, size: int) -> Tensor:
    if len(rows) <= MAX_EXACT:
        return rows
    order = torch.randperm(len(rows), generator=torch.Generator().manual_seed(seed))
    return rows[order[:size].to(rows.device)]
