"""The last layer, fitted once more to an encoder that was trained, or is being trained."""

from itertools import combinations, product
from math import ceil
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int
from scipy.special import softmax
from torch import Tensor
from torch.nn import functional

from graphloss.evaluation.calibration import brier_score, class_shift, fit_temperature
from graphloss.models.linear_head import LinearHead, fit_linear_head, linear_fits
from graphloss.training.distributed import ProcessGroup, agreed

SHARES = (0.75, 0.5, 0.25, 0.1)  # of logistic regression in a mixture
EVENLY = (0.75, 0.5, 0.25)  # of one of two heads in a mixture
TAUGHT = (1.0, 0.7)  # shares of the documents without a label that teach, the surest first
TEACHERS = 30_000  # at most, of every sureness: more would take long and hardly teach more
MOST = 4096  # documents of the last steps, of each process: more would take longer to fit than the steps between


def fit_after_training(
    features: Float[Tensor, "n d"],
    labels: Int[Tensor, " n"],
    num_labels: int,
    checking: Float[Tensor, "m d"],
    checking_labels: Int[Tensor, " m"],
    *,
    bias: bool = True,
) -> LinearHead:
    """Logistic regression and linear discriminant analysis together, mixed as suits validation documents.

    Their calibrated logits are added, so that the mixture is one linear head again. Which of each kind, and at which
    shares, is what the Brier score of validation documents likes best; unlike the likelihood, it is not ruled by a few
    of which the head is sure and wrong. The encoder has seen the labels of the training documents: they lie closer
    together than new ones do, and folds of them cannot tell one head from another.

    Where validation documents have other class shares than the training documents, as where as many of each class were
    labelled, the head expects those of the validation documents (`graphloss.evaluation.calibration.class_shift`).

    Args:
        features: (n, d) float, what the last layer reads of the training documents.
        labels: (n,) their classes; -100 for no label.
        num_labels: C.
        checking: (m, d) the same of validation documents.
        checking_labels: (m,) their classes; where none has a label, folds of the training documents must do.
        bias: whether the last layer has one; without, it is logistic regression alone.

    Returns:
        Weights whose probabilities are calibrated; `left_out` are its own logits.
    """
    known = checking_labels >= 0
    if known.any():
        head = _liked_best(features, labels, num_labels, checking[known], checking_labels[known].numpy(), bias)
    else:
        head = fit_linear_head(features, labels, num_labels, bias=bias)
    return head._replace(left_out=head.logits(features))


class _Checks(NamedTuple):
    """What heads are judged by.

    Attributes:
        points: (m, d) features of validation documents.
        truth: (m,) their classes.
        shift: (C,) or 0, what is to be added to the logits of heads before they are judged.
    """

    points: Float[Tensor, "m d"]
    truth: Int[np.ndarray, " m"]
    shift: Float[np.ndarray, " C"] | float = 0.0


def _liked_best(
    features: Tensor, labels: Tensor, num_labels: int, points: Tensor, truth: np.ndarray, bias: bool
) -> LinearHead:
    checks = _Checks(points, truth, class_shift(labels.numpy(), truth, num_labels) if bias else 0.0)
    fits = linear_fits(features, labels, num_labels, bias=bias)
    regressions, discriminants = ([_calibrated(head, checks) for head in kind] for kind in fits)
    mixtures = [_mixed(*pair, share) for pair in product(regressions, discriminants) for share in SHARES]
    return _shifted(_best([_calibrated(head, checks) for head in mixtures or regressions], checks), checks)


def expecting(
    head: LinearHead, labels: Int[Tensor, " n"], checking: Float[Tensor, "m d"], checking_labels: Int[Tensor, " m"]
) -> LinearHead:
    """The head calibrated, and expecting the class shares of validation documents where these are other ones.

    Args:
        head: with a bias.
        labels: (n,) classes of the documents that it was fitted to; -100 for no label.
        checking: (m, d) what it reads of validation documents.
        checking_labels: (m,) their classes; some have a label.
    """
    known = checking_labels >= 0
    truth = checking_labels[known].numpy()
    checks = _Checks(checking[known], truth, class_shift(labels.numpy(), truth, len(head.bias)))
    return _shifted(_calibrated(head, checks), checks)


def teach(
    head: LinearHead,
    features: Float[Tensor, "n d"],
    labels: Int[Tensor, " n"],
    opinions: Float[Tensor, "n C"],
    checking: Float[Tensor, "m d"],
    checking_labels: Int[Tensor, " m"],
    *,
    bias: bool = True,
) -> LinearHead:
    """Fit again, to documents without a label, too, as if each had the label that is likeliest for it.

    Heads that were taught by all of them, and by the surest ones, are mixed with each other and with the one that was
    not; the Brier score of validation documents chooses, as in `fit_after_training`, and may choose the latter.

    Args:
        head: fitted to the labels alone, calibrated or not.
        features: (n, d) float, what the last layer reads of the training documents.
        labels: (n,) their classes; -100 for no label.
        opinions: (n, C) probabilities, read where there is no label; zeros where there is none either.
        checking: (m, d) features of validation documents.
        checking_labels: (m,) their classes; some have a label.
        bias: as in `fit_after_training`.

    Returns:
        As `fit_after_training`; the very head that was given where none is better.

    Source: Lee (2013) for the likeliest label in place of an unknown one.
    """
    known = checking_labels >= 0
    checks = _Checks(checking[known], checking_labels[known].numpy())
    sureness, likeliest = opinions.masked_fill(labels[:, None] >= 0, 0.0).max(dim=1)
    order = sureness.argsort(descending=True, stable=True)[: int((sureness > 0.0).sum())]
    order = order[:: max(ceil(len(order) / TEACHERS), 1)]
    if not len(order):
        return head
    heads = [_calibrated(head, checks)]
    for share in TAUGHT:
        taught, sure = labels.clone(), order[: round(share * len(order))]
        taught[sure] = likeliest[sure]
        heads.append(_liked_best(features, taught, opinions.shape[1], checks.points, checks.truth, bias))
    mixtures = [_mixed(*pair, share) for pair in combinations(heads, 2) for share in EVENLY]
    best = _best([*heads, *(_calibrated(each, checks) for each in mixtures)], checks)
    return head if best is heads[0] else best._replace(left_out=best.logits(features))


def _best(heads: list[LinearHead], checks: _Checks) -> LinearHead:
    return min(heads, key=lambda head: brier_score(softmax(_logits(head, checks) + checks.shift, axis=1), checks.truth))


def _calibrated(head: LinearHead, checks: _Checks) -> LinearHead:
    temperature = fit_temperature(_logits(head, checks), checks.truth, checks.shift)
    return head._replace(weight=head.weight / temperature, bias=head.bias / temperature)


def _logits(head: LinearHead, checks: _Checks) -> Float[np.ndarray, "m C"]:
    return head.logits(checks.points).numpy()


def _shifted(head: LinearHead, checks: _Checks) -> LinearHead:
    return head._replace(bias=head.bias + torch.as_tensor(checks.shift, dtype=head.bias.dtype))


def _mixed(one: LinearHead, other: LinearHead, share: float) -> LinearHead:
    """A head whose logits are those of both, of the first at this share."""
    weight, shift = (share * mine + (1.0 - share) * theirs for mine, theirs in zip(one[:2], other[:2], strict=True))
    return LinearHead(weight, shift, torch.empty(0, len(shift)))


class RunningFit:
    """A head for evaluations: near what would be fitted if training ended now, without a pass over all documents.

    It reads the embeddings, at unit length, that the training documents had in the steps since the last evaluation,
    each under the dropout of its step and by the weights of its step; where they are many, those seen last. The last
    layer of a stock head reads what other layers make of them, so that its scores may differ a little. Unlabelled
    documents do not teach it yet.

    Args:
        num_labels: C.
    """

    def __init__(self, num_labels: int) -> None:
        self.num_labels = num_labels
        self._seen: list[tuple[Tensor, Tensor]] = []
        self._evaluated = False

    def see(self, embeddings: Float[Tensor, "B d"], labels: Int[Tensor, " B"]) -> None:
        """Take the embeddings of a step; -100 for no label."""
        if self._evaluated:
            self._seen, self._evaluated = [], False
        self._seen.append((functional.normalize(embeddings.detach().float(), dim=1), labels))
        while sum(len(rows) for _, rows in self._seen[1:]) >= MOST:
            del self._seen[0]

    def logits(
        self, embeddings: Float[Tensor, "m d"], labels: Int[Tensor, " m"], ranks: ProcessGroup | None = None
    ) -> Float[Tensor, "m C"] | None:
        """Of validation documents, whose labels choose among heads, as in `fit_after_training`.

        Args:
            embeddings: (m, d) float, of any length, the same in all processes.
            labels: (m,) their classes; -100 for no label.
            ranks: the processes of the run, which all ask.

        Returns:
            None before a document with a label was seen.
        """
        if not self._seen:
            return None
        self._evaluated = True
        points, classes = (torch.cat(parts) for parts in zip(*self._seen, strict=True))
        if ranks is not None:
            counts = ranks.counts(points)
            points, classes = ranks.gather(points, counts), ranks.gather(classes, counts)
        order = points[:, 0].argsort()  # the same for any number of processes: where the fit stops depends on it
        points, classes = points[order], classes[order]
        if not (classes >= 0).any():
            return None
        checking = functional.normalize(embeddings.float(), dim=1)
        head = agreed(lambda: fit_after_training(points.cpu(), classes.cpu(), self.num_labels, checking, labels))
        return head.logits(checking)

    def progress(self) -> dict[str, Any]:
        """What a checkpoint keeps."""
        return {"seen": self._seen, "evaluated": self._evaluated}

    def go_on(self, progress: dict[str, Any]) -> None:
        """Go on from what `progress` gave."""
        self._seen, self._evaluated = progress["seen"], progress["evaluated"]
