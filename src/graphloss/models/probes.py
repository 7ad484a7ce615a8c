"""Linear probes in closed form: what each document's class would be judged to be by a probe fitted without it.

One decomposition of a (d, d) matrix answers for all documents left out one at a time, where folds would take as many
fits. Strength and sharpness are chosen by the likelihood of the labels so inferred.
"""

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

RIDGES = (1e-5, 1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2, 1e-1)  # of the variance along all directions
SHRINKAGES = (0.1, 0.3, 0.5, 0.7, 0.9)
RIDGE_SHARPNESS = (3.0, 5.0, 7.0, 10.0, 15.0, 20.0, 30.0, 50.0)
LDA_SHARPNESS = (0.1, 0.2, 0.35, 0.5, 0.7, 1.0)
SURE = 7.0  # nats: no document costs more, lest a few wrong labels choose the probe


def ridge_left_out(
    embeddings: Float[Tensor, "n d"], labels: Int[Tensor, " n"], num_labels: int
) -> Float[Tensor, "n C"]:
    """Class probabilities of each document by ridge regression on one-hot labels, fitted without it.

    Its prediction when left out follows from the one when not: (f_i - h_i y_i) / (1 - h_i) with h_i its leverage.

    Args:
        embeddings: (n, d) float, n > 1.
        labels: (n,) classes.
        num_labels: C.

    Returns:
        (n, C) logarithms of probabilities, float32.

    Source: Allen (1974), the prediction sum of squares; Hoerl & Kennard (1970).
    """
    points = embeddings.float() - embeddings.float().mean(dim=0)
    targets = torch.nn.functional.one_hot(labels, num_labels).float()
    shares = targets.mean(dim=0)
    values, directions = torch.linalg.eigh(points.mT @ points)
    rotated = points @ directions
    squares = rotated.square()
    moments = rotated.mT @ (targets - shares)
    fits = []
    for ridge in RIDGES:
        scale = (values.clamp_min(0.0) + ridge * values.sum()).clamp_min(1e-12).reciprocal()
        fitted = rotated @ (scale[:, None] * moments)
        leverage = (squares @ scale)[:, None] + 1.0 / len(points)
        left_out = (fitted - leverage * (targets - shares)) / (1.0 - leverage).clamp_min(1e-6) + shares
        fits += [torch.log_softmax(left_out * sharpness, dim=1) for sharpness in RIDGE_SHARPNESS]
    return _likeliest(fits, labels)


def lda_left_out(embeddings: Float[Tensor, "n d"], labels: Int[Tensor, " n"], num_labels: int) -> Float[Tensor, "n C"]:
    """Class probabilities of each document by linear discriminant analysis, fitted without it.

    Leaving a document out moves the mean of its class and takes one direction off the common covariance, both exact by
    the formula of Sherman & Morrison; only the scale that the covariance is shrunk to stays as it was.

    Args:
        embeddings: (n, d) float.
        labels: (n,) classes.
        num_labels: C; a class without another document than the one left out gets its prior alone.

    Returns:
        (n, C) logarithms of probabilities, float32.

    Source: Fisher (1936); Friedman (1989) for the shrinkage; Lachenbruch & Mickey (1968) for leaving one out.
    """
    points = embeddings.float() - embeddings.float().mean(dim=0)
    number = torch.arange(len(labels))
    targets = torch.nn.functional.one_hot(labels, num_labels).float()
    sizes = targets.sum(dim=0)
    means = (targets.mT @ points) / sizes.clamp_min(1.0)[:, None]
    deviations = points - means[labels]
    values, directions = torch.linalg.eigh(deviations.mT @ deviations / len(points))
    rotated, centres, spread = points @ directions, means @ directions, deviations @ directions
    others = (sizes - targets).clamp_min(0.0)
    priors = torch.log((others + 0.5) / (others + 0.5).sum(dim=1, keepdim=True))
    growth = (sizes / (sizes - 1.0).clamp_min(1.0))[labels]
    squares, squared_spread, products = rotated.square(), spread.square(), rotated * spread
    fits = []
    for shrinkage in SHRINKAGES:
        scale = ((1.0 - shrinkage) * values.clamp_min(0.0) + shrinkage * values.mean().clamp_min(1e-12)).reciprocal()
        scaled_means = (centres * scale).mT
        lengths = (squares @ scale)[:, None] + centres.square() @ scale
        distances = (lengths - 2.0 * rotated @ scaled_means).clamp_min(0.0)
        length = squared_spread @ scale
        removed = growth * (1.0 - shrinkage) / len(points)
        gain = (removed / (1.0 - removed * length).clamp_min(1e-6))[:, None]
        along = (products @ scale)[:, None] - spread @ scaled_means
        distances = distances + gain * along.square()
        distances[number, labels] = growth.square() * (length + gain[:, 0] * length.square())
        distances[(others < 0.5)] = torch.inf
        distances = distances - distances.amin(dim=1, keepdim=True)
        fits += [torch.log_softmax(priors - 0.5 * sharpness * distances, dim=1) for sharpness in LDA_SHARPNESS]
    return _likeliest(fits, labels)


def _likeliest(fits: list[Tensor], labels: Tensor) -> Float[Tensor, "n C"]:
    likelihoods = [float(fit.gather(1, labels[:, None]).clamp_min(-SURE).mean()) for fit in fits]
    return fits[int(np.argmax(likelihoods))]
