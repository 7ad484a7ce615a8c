"""A linear head on the embeddings of an encoder that is left as it is."""

from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

STRENGTHS = (1.0, 10.0, 100.0)  # inverse of the regularization, as scikit-learn counts it
FOLDS = 5


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
    known = np.flatnonzero(labels.numpy() >= 0)
    points, classes = embeddings.float().numpy()[known], labels.numpy()[known]
    scale = float(np.sqrt((points**2).sum(axis=1).mean())) or 1.0  # about unit length, which the strengths are made for
    points = points / scale
    fold = _folds(classes)
    fits = [_left_out(points, classes, fold, num_labels, strength, bias) for strength in STRENGTHS]
    _, strength, logits = max(fits, key=lambda fit: fit[0])
    weight, shift = _fit(points, classes, num_labels, strength, bias)
    shift = shift if bias else np.zeros_like(shift)
    head = LinearHead(torch.from_numpy(weight / scale), torch.from_numpy(shift), torch.empty(0, num_labels))
    left_out = head.logits(embeddings)
    left_out[torch.from_numpy(known)] = torch.from_numpy(logits)
    return head._replace(left_out=left_out)


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
    from sklearn.linear_model import LogisticRegression  # when first asked for: a run should start without it

    present = np.unique(classes)
    weight = np.zeros((num_labels, points.shape[1]), dtype=np.float32)
    shift = np.full(num_labels, -30.0, dtype=np.float32)
    if len(present) == 1:
        shift[present] = 0.0
        return weight, shift
    model = LogisticRegression(C=strength, tol=1e-3, max_iter=300, fit_intercept=bias).fit(points, classes)
    two = len(present) == 2  # then there is one row, for the second class against the first
    weight[present] = np.concatenate([-model.coef_, model.coef_]) / 2 if two else model.coef_
    shift[present] = np.concatenate([-model.intercept_, model.intercept_]) / 2 if two else model.intercept_
    return weight, shift
