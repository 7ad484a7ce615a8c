"""The last layer, fitted once more to an encoder that was trained."""

import numpy as np
from jaxtyping import Float, Int
from scipy.special import log_softmax
from torch import Tensor

from graphloss.evaluation.calibration import fit_temperature
from graphloss.models.linear_head import LinearHead, fit_linear_head, linear_fits


def fit_after_training(
    features: Float[Tensor, "n d"],
    labels: Int[Tensor, " n"],
    num_labels: int,
    checking: Float[Tensor, "m d"],
    checking_labels: Int[Tensor, " m"],
    *,
    bias: bool = True,
) -> LinearHead:
    """The linear head under which the labels of validation documents are likeliest.

    The encoder has seen the labels of the training documents: they lie closer together than new ones do, and folds of
    them cannot tell one head from another.

    Args:
        features: (n, d) float, what the last layer reads of the training documents.
        labels: (n,) their classes; -100 for no label.
        num_labels: C.
        checking: (m, d) the same of validation documents.
        checking_labels: (m,) their classes; where none has a label, folds of the training documents must do.
        bias: whether the last layer has one.

    Returns:
        Weights whose probabilities are calibrated; `left_out` are its own logits.
    """
    known = checking_labels >= 0
    if not known.any():
        head = fit_linear_head(features, labels, num_labels, bias=bias)
        return head._replace(left_out=head.logits(features))
    points, truth = checking[known], checking_labels[known].numpy()
    fits = []
    for head in linear_fits(features, labels, num_labels, bias=bias):
        logits = head.logits(points).numpy()
        temperature = fit_temperature(logits, truth)
        likelihood = log_softmax(logits / temperature, axis=1)[np.arange(len(truth)), truth].mean()
        fits.append((float(likelihood), LinearHead(*(part / temperature for part in head))))
    return max(fits, key=lambda fit: fit[0])[1]
