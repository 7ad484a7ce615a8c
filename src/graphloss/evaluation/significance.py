"""Whether a difference between two classifiers may be chance."""

from itertools import product
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float

RESAMPLES = 2_000
EXACT = 12  # units up to which all signs are tried


def bootstrap_interval(right: Bool[np.ndarray, "S n"], *, level: float = 0.95, seed: int = 0) -> tuple[float, float]:
    """An interval of the mean accuracy over seeds, by resampling seeds and documents.

    Args:
        right: (S, n), whether the run of a seed was right about a document.
        level: of the interval.
        seed: of the resampling.

    With one seed only documents vary, and what another seed would give is not in the interval.

    Source: Efron (1979), percentiles.
    """
    return _percentiles(_resampled_means(right, np.random.default_rng(seed)), level)


class Gain(NamedTuple):
    """A difference in accuracy, and an interval of it.

    Attributes:
        mean: over seeds and data sets.
        low, high: what it would hardly be below and above.
    """

    mean: float
    low: float
    high: float


def bootstrap_gain(differences: dict[str, Float[np.ndarray, "S _"]], *, level: float = 0.95, seed: int = 0) -> Gain:
    """How much more accurate one classifier is than another, by resampling seeds and documents, both in pairs.

    Args:
        differences: by data set (S, n), for each seed and document 1 where only the first was right, -1 where only the
            other was, else 0.
        level: of the interval.
        seed: of the resampling.

    Source: Efron (1979), percentiles.
    """
    generator = np.random.default_rng(seed)
    means = np.mean([_resampled_means(values, generator) for values in differences.values()], axis=0)
    return Gain(float(np.mean([values.mean() for values in differences.values()])), *_percentiles(means, level))


def paired_p_value(right: Bool[np.ndarray, "S n"], other: Bool[np.ndarray, "T n"], *, seed: int = 0) -> float:
    """How often two classifiers of equal accuracy would differ as much on these documents, by a permutation test.

    Args:
        right: (S, n), whether the first was right, for each of its seeds.
        other: (T, n), the same of the second.
        seed: of the permutations.

    The mean over seeds is compared, document by document, and the signs of the differences are exchanged. It is about
    these runs: how much seeds vary is not in it.
    """
    differences = right.mean(axis=0) - other.mean(axis=0)
    return _sign_test(differences[differences != 0.0], seed)


def hierarchical_p_value(differences: dict[str, Float[np.ndarray, " S"]], *, seed: int = 0) -> float:
    """The same over data sets: the mean over them of the mean over seeds of a difference in accuracy.

    Args:
        differences: by data set, that of each seed.
        seed: of the permutations, where there are too many to try all.

    Seeds of a data set are exchanged as if they were independent; they share its documents, so that with few data sets
    p is too small. It says nothing of data sets that are not among these.
    """
    units = np.concatenate([values / (len(values) * len(differences)) for values in differences.values()])
    return _sign_test(units, seed)


def _resampled_means(values: np.ndarray, generator: np.random.Generator) -> Float[np.ndarray, " r"]:
    """Means of an (S, n) array whose rows, seeds, and columns, documents, are drawn with replacement."""
    seeds, documents = values.shape
    means = np.empty(RESAMPLES)
    for number in range(RESAMPLES):
        counts = np.bincount(generator.integers(0, documents, documents), minlength=documents)
        drawn = generator.integers(0, seeds, seeds)
        means[number] = (values[drawn] @ counts).mean() / documents
    return means


def _percentiles(means: Float[np.ndarray, " r"], level: float) -> tuple[float, float]:
    tail = (1.0 - level) / 2.0
    low, high = np.quantile(means, [tail, 1.0 - tail])
    return float(low), float(high)


def _sign_test(units: Float[np.ndarray, " k"], seed: int) -> float:
    """The share of all choices of signs under which the sum is as far from zero."""
    if len(units) == 0:
        return 1.0
    observed = abs(units.sum()) * (1.0 - 1e-9)
    if len(units) <= EXACT:
        sums = np.array(list(product((-1.0, 1.0), repeat=len(units)))) @ units
        return float((np.abs(sums) >= observed).mean())
    generator = np.random.default_rng(seed)
    reached = 0
    for _ in range(RESAMPLES):
        reached += abs(np.where(generator.integers(0, 2, len(units)), units, -units).sum()) >= observed
    return (reached + 1) / (RESAMPLES + 1)
