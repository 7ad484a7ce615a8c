"""Whether probabilities mean what they say, and making them do so."""

import numpy as np
from jaxtyping import Float, Int
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax

BINS = 15
CAUTION = 2.0  # nats that all documents together must gain to move the temperature by a factor of e


def expected_calibration_error(probabilities: Float[np.ndarray, "n C"], labels: Int[np.ndarray, " n"]) -> float:
    """How far accuracy is from confidence: the mean over fifteen bins of equal width, weighted by their documents.

    Args:
        probabilities: (n, C), rows sum to one.
        labels: (n,) true classes.

    Source: Guo et al. (2017).
    """
    confidence, right = probabilities.max(axis=1), probabilities.argmax(axis=1) == labels
    number = np.minimum((confidence * BINS).astype(int), BINS - 1)
    gaps = np.bincount(number, weights=right - confidence, minlength=BINS)  # accuracy less confidence, times documents
    return float(np.abs(gaps).sum() / len(labels))


def brier_score(probabilities: Float[np.ndarray, "n C"], labels: Int[np.ndarray, " n"]) -> float:
    """The mean squared distance of probabilities from the truth: 0 at best, 2 at worst, whatever the confidence.

    Args:
        probabilities: (n, C), rows sum to one.
        labels: (n,) true classes.

    Source: Brier (1950).
    """
    of_the_truth = probabilities[np.arange(len(labels)), labels]
    return float(((probabilities**2).sum(axis=1) - 2.0 * of_the_truth + 1.0).mean())


def fit_temperature(logits: Float[np.ndarray, "n C"], labels: Int[np.ndarray, " n"]) -> float:
    """The T by which logits are to be divided so that held-out labels are most likely; classes stay as they are.

    Of few documents the likelihood says little: a penalty, the same for any number, keeps T near 1.

    Args:
        logits: (n, C) of documents that the classifier was not fitted to.
        labels: (n,) true classes; documents labelled -100 are left out.

    Returns:
        From 1/100 to 100; 1 where no document has a label.

    Source: Guo et al. (2017).
    """
    known = labels >= 0
    if not known.any():
        return 1.0
    scores, truth = logits[known].astype(np.float64), labels[known]

    def loss(logarithm: float) -> float:
        likelihoods = log_softmax(scores / np.exp(logarithm), axis=1)[np.arange(len(truth)), truth]
        return float(-likelihoods.sum() + CAUTION * abs(logarithm))

    widest = np.log(100.0)
    return float(np.exp(minimize_scalar(loss, bounds=(-widest, widest), method="bounded").x))
