"""Whether probabilities mean what they say, and making them do so."""

import numpy as np
from jaxtyping import Float, Int
from scipy.optimize import minimize_scalar
from scipy.special import gammaln, log_softmax

BINS = 15
CAUTION = 2.0  # nats that all documents together must gain to move the temperature by a factor of e
WORTH = np.geomspace(1.0, 1e4, 41)  # documents a class that class shares known from elsewhere may count as
STRONG = 3.0  # nats by which held-out labels must be likelier for shares that differ


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


def fit_temperature(
    logits: Float[np.ndarray, "n C"], labels: Int[np.ndarray, " n"], shift: Float[np.ndarray, " C"] | float = 0.0
) -> float:
    """The T by which logits are to be divided so that held-out labels are most likely; classes stay as they are.

    Of few documents the likelihood says little: a penalty, the same for any number, keeps T near 1.

    Args:
        logits: (n, C) of documents that the classifier was not fitted to.
        labels: (n,) true classes; documents labelled -100 are left out.
        shift: (C,) what is added to the logits once they are divided.

    Returns:
        From 1/100 to 100; 1 where no document has a label.

    Source: Guo et al. (2017).
    """
    known = labels >= 0
    if not known.any():
        return 1.0
    scores, truth = logits[known].astype(np.float64), labels[known]

    def loss(logarithm: float) -> float:
        likelihoods = log_softmax(scores / np.exp(logarithm) + shift, axis=1)[np.arange(len(truth)), truth]
        return float(-likelihoods.sum() + CAUTION * abs(logarithm))

    widest = np.log(100.0)
    return float(np.exp(minimize_scalar(loss, bounds=(-widest, widest), method="bounded").x))


def class_shift(
    labels: Int[np.ndarray, " n"], held_out: Int[np.ndarray, " m"], num_labels: int
) -> Float[np.ndarray, " C"]:
    """What to add to the logits of a classifier whose training documents have other class shares than new ones have.

    Of few held-out documents shares are uncertain: they are the mean of a posterior around those of the training
    documents, which count as many documents, one a class at least, as makes the held-out labels likeliest. Without
    strong evidence that the shares differ nothing is added: a stratified split, too, rounds the share of a rare class.

    Args:
        labels: (n,) classes of the training documents; -100 for no label.
        held_out: (m,) classes of documents drawn as new ones are; -100 for no label.
        num_labels: C.

    Returns:
        (C,) float64, logarithms of ratios of shares; zero for a class without a training document.

    Source: Saerens, Latinne & Decaestecker (2002) for the ratios; the Dirichlet-multinomial likelihood for the worth;
        Kass & Raftery (1995) for what is strong evidence.
    """
    trained, seen = (np.bincount(each[each >= 0], minlength=num_labels) for each in (labels, held_out))
    there = trained > 0
    shares, counts = trained[there] / max(trained.sum(), 1), seen[there]

    def likelihood(worth: float) -> float:
        prior = worth * shares
        of_all = gammaln(worth) - gammaln(worth + counts.sum())
        return float(of_all + (gammaln(prior + counts) - gammaln(prior)).sum())

    shift, worths = np.zeros(num_labels), there.sum() * WORTH
    worth = max(worths, key=likelihood)
    if likelihood(worth) > likelihood(worths[-1]) + STRONG:
        shift[there] = np.log((counts / shares + worth) / (counts.sum() + worth))
    return shift
