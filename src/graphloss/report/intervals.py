"""How far scores would move with other documents."""

import numpy as np
from jaxtyping import Float, Int

RESAMPLES = 500


def intervals(
    labels: Int[np.ndarray, " n"], predictions: Int[np.ndarray, " n"], num_labels: int
) -> dict[str, tuple[float, float]]:
    """95 % intervals of "accuracy" and "macro_f1" by resampling documents.

    Args:
        labels: (n,) true classes.
        predictions: (n,) predicted ones.
        num_labels: C.

    Source: Efron (1979), percentiles.
    """
    generator, size = np.random.default_rng(0), len(labels)
    pairs = labels * num_labels + predictions
    shares = np.bincount(pairs, minlength=num_labels**2) / size
    drawn = generator.multinomial(size, shares, size=RESAMPLES).reshape(RESAMPLES, num_labels, num_labels)
    accuracy = drawn.diagonal(axis1=1, axis2=2).sum(axis=1) / size
    scores = {"accuracy": accuracy, "macro_f1": _macro_f1(drawn)}
    return {name: tuple(np.quantile(values, [0.025, 0.975]).tolist()) for name, values in scores.items()}


def _macro_f1(confusions: Int[np.ndarray, "r C C"]) -> Float[np.ndarray, " r"]:
    hits = confusions.diagonal(axis1=1, axis2=2)
    total = confusions.sum(axis=1) + confusions.sum(axis=2)
    occurs = total > 0
    return (2.0 * hits / np.maximum(total, 1)).sum(axis=1) / np.maximum(occurs.sum(axis=1), 1)
