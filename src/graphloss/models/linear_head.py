"""Linear heads on the embeddings of an encoder that is left as it is."""

import warnings
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

STRENGTHS = (1.0, 10.0, 100.0)  # inverse of the regularization, as scikit-learn counts it
SHRINKAGES = (0.1, 0.3)  # of a common covariance
STOP = {"tol": 1e-5, "max_iter": 3000}  # near the optimum: of a loose stop rounding decides where it is
FOLDS = 5
ABSENT = -1e3  # the logit of a class without a document, of no account at any temperature


class LinearHead(NamedTuple):
    """Logits of C classes from embeddings of any length: embeddings @ weight.T + bias.

    Attributes:
        weight: (C, d).
        bias: (C,).
        left_out: (n, C) logits of each document it was fitted to, by a head that was fitted without it.
    """

    weight: Float[Tensor, "C d"]
    bias: Float[Tensor, " C"]
    left_out: Float[Tensor, "n C"]

    def logits(self, embeddings: Float[Tensor, "n d"]) -> Float[Tensor, "n C"]:
        """Of n documents."""
        return embeddings.float() @ self.weight.T + self.bias


class LinearFits(NamedTuple):
    """Heads of two kinds.

    Attributes:
        regressions: by logistic regression, more and less regularized.
        discriminants: by linear discriminant analysis, more and less shrunken; none where it cannot be.
    """

    regressions: list[LinearHead]
    discriminants: list[LinearHead]


def fit_linear_head(
    embeddings: Float[Tensor, "n d"], labels: Int[Tensor, " n"], num_labels: int, *, bias: bool = True
) -> LinearHead:
    """Logistic regression on embeddings, its regularization chosen by the likelihood of five left-out folds.

    Args:
        embeddings: (n, d) float, of any length.
        labels: (n,) classes; documents labelled -100 are left out, and get logits of the head itself.
        num_labels: C; a class without a document is never predicted.
        bias: whether there is one; without, it is zero.
    """
    known, points, classes, scale = _labelled(embeddings, labels)
    fold = _folds(classes)
    fits = [_left_out(points, classes, fold, num_labels, strength, bias) for strength in STRENGTHS]
    _, strength, logits = max(fits, key=lambda fit: fit[0])
    head = _head(*_fit(points, classes, num_labels, strength, bias), scale)
    left_out = head.logits(embeddings)
    left_out[torch.from_numpy(known)] = torch.from_numpy(logits)
    return head._replace(left_out=left_out)


def linear_fits(
    embeddings: Float[Tensor, "n d"], labels: Int[Tensor, " n"], num_labels: int, *, bias: bool = True
) -> LinearFits:
    """What may suit embeddings whose encoder has seen the labels: logistic regression, as much regularized as suits
    some encoder; and linear discriminant analysis, which takes the members of a class for a cloud around their mean.

    The latter, which needs a bias and more documents than classes, is good at small classes where a loss has drawn the
    members of each together, and worse than logistic regression where documents are few.

    Args:
        embeddings: (n, d) float, of any length.
        labels: (n,) classes; documents labelled -100 are left out.
        num_labels: C; a class without a document is never predicted.
        bias: whether there is one; without, it is zero.

    Returns:
        Heads without `left_out`, left to others to choose from (`graphloss.training.last_fit`).

    Source: Fisher (1936); Friedman (1989) for the shrinkage.
    """
    _, points, classes, scale = _labelled(embeddings, labels)
    shrinkages = SHRINKAGES if bias and 1 < len(np.unique(classes)) < len(classes) else ()
    kinds = (
        [_fit(points, classes, num_labels, strength, bias) for strength in STRENGTHS],
        [_fit_discriminants(points, classes, num_labels, shrinkage) for shrinkage in shrinkages],
    )
    return LinearFits(*([_head(*fit, scale) for fit in fits] for fits in kinds))


def fit_by_adam(
    embeddings: Float[Tensor, "n d"],
    labels: Int[Tensor, " n"],
    num_labels: int,
    checking: Float[Tensor, "m d"],
    checking_labels: Int[Tensor, " m"],
    *,
    seed: int,
) -> LinearHead:
    """The probe of the paper: one layer, cross-entropy, Adam at 1e-4 in batches of 128, at most 50 epochs.

    Args:
        embeddings: (n, d) float.
        labels: (n,) classes; documents labelled -100 are left out.
        num_labels: C.
        checking: (m, d) of validation documents; training stops after 10 epochs without a better macro-F1 on them.
        checking_labels: (m,) their classes.
        seed: of the first weights and the batches.

    Returns:
        The head of the best epoch; `left_out` are its own logits.

    Source: Sharma, Agarwal & Kumar (2025), standalone set-up.
    """
    from sklearn.metrics import f1_score  # when first asked for: a run should start without it

    generator = torch.Generator().manual_seed(seed)
    known = torch.nonzero(labels >= 0)[:, 0]
    points = embeddings.float().clone()  # may come from inference mode, where nothing is kept for a gradient
    weight = torch.empty(num_labels, points.shape[1]).uniform_(-1.0, 1.0, generator=generator) / points.shape[1] ** 0.5
    head = LinearHead(weight.requires_grad_(), torch.zeros(num_labels, requires_grad=True), torch.empty(0, num_labels))
    optimizer = torch.optim.Adam([head.weight, head.bias], lr=1e-4)
    best, since, kept = -1.0, 0, head
    for _ in range(50):
        for rows in known[torch.randperm(len(known), generator=generator)].split(128):
            optimizer.zero_grad()
            torch.nn.functional.cross_entropy(head.logits(points[rows]), labels[rows]).backward()
            optimizer.step()
        with torch.no_grad():
            found = head.logits(checking).argmax(dim=1)
        score = f1_score(checking_labels.numpy(), found.numpy(), average="macro", zero_division=0)
        since += 1
        if score > best:
            best, since = score, 0
            kept = head._replace(weight=head.weight.detach().clone(), bias=head.bias.detach().clone())
        if since == 10:
            break
    return kept._replace(left_out=kept.logits(embeddings))


def _labelled(embeddings: Tensor, labels: Tensor) -> tuple[np.ndarray, np.ndarray, np.ndarray, float]:
    """Which documents have a label, their embeddings divided by a scale, their classes, and the scale."""
    known = np.flatnonzero(labels.numpy() >= 0)
    points = embeddings.double().numpy()[known]  # in float32 rounding would stop the fit
    scale = float(np.sqrt((points**2).sum(axis=1).mean())) or 1.0  # about unit length, which the strengths are made for
    return known, points / scale, labels.numpy()[known], scale


def _head(weight: np.ndarray, shift: np.ndarray, scale: float) -> LinearHead:
    return LinearHead(torch.from_numpy(weight / scale), torch.from_numpy(shift), torch.empty(0, len(shift)))


def _folds(classes: np.ndarray) -> np.ndarray:
    """The fold of each document, the members of a class dealt out in turn."""
    order = (classes + np.random.default_rng(0).random(len(classes))).argsort()
    fold = np.empty(len(classes), dtype=np.int64)
    fold[order] = np.arange(len(classes)) % FOLDS
    return fold


def _left_out(
    points: np.ndarray, classes: np.ndarray, fold: np.ndarray, num_labels: int, strength: float, bias: bool
) -> tuple[float, float, np.ndarray]:
    """The likelihood of left-out documents, the strength, and their logits."""
    logits = np.zeros((len(points), num_labels), dtype=np.float32)
    for number in range(FOLDS):
        weight, shift = _fit(points[fold != number], classes[fold != number], num_labels, strength, bias)
        logits[fold == number] = points[fold == number] @ weight.T + shift
    loss = torch.nn.functional.cross_entropy(torch.from_numpy(logits).clamp_min(-30.0), torch.from_numpy(classes))
    return -float(loss), strength, logits


def _fit(
    points: np.ndarray, classes: np.ndarray, num_labels: int, strength: float, bias: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Weights (C, d) and bias (C,) of logistic regression."""
    from sklearn.linear_model import LogisticRegression  # when first asked for: a run should start without it

    if len(np.unique(classes)) == 1:
        return _of_all(np.zeros((1, points.shape[1])), np.zeros(1), classes, num_labels)
    model = LogisticRegression(C=strength, fit_intercept=bias, **STOP).fit(points, classes)
    weight, shift = _of_all(model.coef_, model.intercept_, classes, num_labels)
    return weight, shift if bias else np.zeros_like(shift)


def _fit_discriminants(
    points: np.ndarray, classes: np.ndarray, num_labels: int, shrinkage: float
) -> tuple[np.ndarray, np.ndarray]:
    """Weights (C, d) and bias (C,) of linear discriminant analysis."""
    from sklearn.discriminant_analysis import LinearDiscriminantAnalysis  # when first asked for

    model = LinearDiscriminantAnalysis(solver="lsqr", shrinkage=shrinkage)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Only one sample available")  # of a class, which then shows no spread
        model.fit(points, classes)
    # what all classes have in common says nothing, and would be most of what float32 has digits for
    weight, shift = (part - part.mean(axis=0) if len(part) > 1 else part for part in (model.coef_, model.intercept_))
    return _of_all(weight, shift, classes, num_labels)


def _of_all(
    weight: np.ndarray, shift: np.ndarray, classes: np.ndarray, num_labels: int
) -> tuple[np.ndarray, np.ndarray]:
    """Weights (C, d) and bias (C,) of all classes from those of the classes that are there, as scikit-learn has them:
    of two there is one row, for the second class against the first."""
    present = np.unique(classes)
    if len(present) == 2:
        weight, shift = (np.concatenate([-part, part]) / 2 for part in (weight, shift))
    every, shifts = np.zeros((num_labels, weight.shape[1]), dtype=np.float32), np.full(num_labels, ABSENT)
    every[present], shifts[present] = weight, shift
    return every, shifts.astype(np.float32)
