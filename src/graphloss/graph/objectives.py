"""Losses on what label propagation infers."""

from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional

from graphloss.graph.affinity import at_least_float32

OBJECTIVES = ("nll", "members", "released", "released-combined")
HONEST = ("nll", "members")  # zero for a perfect graph; documents whose class has no labelled member leave the mean


def propagation_loss(
    propagated: Float[Tensor, "e C"],
    labels: Int[Tensor, " e"] | Float[Tensor, "e C"],
    *,
    objective: str = "nll",
    class_weights: Float[Tensor, " C"] | None = None,
) -> Float[Tensor, ""]:
    """How far propagated labels are off the true ones.

    - "nll": the mean of -log f[true class], as the paper prints it. A document to whose class no labelled document
      belongs cannot be right whatever the embeddings: it leaves the mean. With distributions for labels it is the mean
      of -sum_c q_c log f_c, and that share of q leaves the mean to whose classes no labelled document belongs.
    - "members": where every labelled document is a class of its own, the divergence sum_j q_j log(q_j / f_j) of where
      walks end from where they should, the labelled members of the class, all alike (`graphloss.graph.questions`). For
      "nll" it is enough to arrive at one near member; this is 0 only where all of them are reached.
    - "released": cross-entropy that takes the propagated probabilities for logits, as the released code does. A
      perfect answer still costs log(1 + (C - 1) / e): 0.31 with 2 classes, 2.98 with 52.
    - "released-combined": that, divided once more by the number of documents, as the released code does where it
      mixes the loss with cross-entropy.

    Args:
        propagated: (e, C) float, rows of `graphloss.graph.propagate`.
        labels: (e,) int64, the true classes of those rows; or (e, C) float, their distributions, for "members" times
            weights.
        objective: one of `OBJECTIVES`.
        class_weights: (C,) float, weights of a weighted mean, as in `torch.nn.functional.cross_entropy`.

    Returns:
        A scalar; where no document can be evaluated, a zero that is connected to the graph.

    Raises:
        ValueError: for an unknown objective, and for "members" of labels that are no rows.

    Source: Sharma, Agarwal & Kumar (2025), the graph loss, and its released code. "members" is ours: the supervised
    contrastive loss of Khosla et al. (2020), their sum outside of the logarithm, for walks of any length.
    """
    if objective not in OBJECTIVES:
        raise ValueError(f"objective must be one of {', '.join(OBJECTIVES)}, got {objective!r}")
    if objective == "members" and labels.ndim != 2:
        raise ValueError(f"objective 'members' needs labels of shape (e, C), got {tuple(labels.shape)}")
    propagated = at_least_float32(propagated)
    if labels.shape[0] == 0:
        return propagated.sum()
    weights = None if class_weights is None else class_weights.to(propagated)
    if objective not in HONEST:
        labels = labels if labels.ndim == 1 else labels.to(propagated)
        loss = functional.cross_entropy(propagated, labels, weight=weights)
        return loss / len(labels) if objective == "released-combined" else loss
    likelihood = _NegativeLogLikelihood.apply(propagated, labels, weights)
    return likelihood - _entropy(labels.to(propagated)) if objective == "members" else likelihood


def _entropy(rows: Float[Tensor, "e K"]) -> Float[Tensor, ""]:
    """The weighted mean over rows that are distributions times weights."""
    weights = rows.sum(dim=1, keepdim=True)
    surprises = torch.where(rows > 0, rows * (weights / rows).log(), 0.0)
    return surprises.sum() / weights.sum().clamp_min(torch.finfo(rows.dtype).tiny)


class _NegativeLogLikelihood(torch.autograd.Function):
    """The weighted mean of -log f[label] over the entries that labels reach; one node where autograd takes five."""

    @staticmethod
    def forward(ctx: Any, propagated: Tensor, labels: Tensor, weights: Tensor | None) -> Tensor:
        columns = labels[:, None] if labels.ndim == 1 else None
        likelihood = propagated if columns is None else propagated.gather(1, columns)
        reachable = likelihood > torch.finfo(likelihood.dtype).tiny ** 0.5  # teleport alone gives far more
        shares = reachable.to(likelihood.dtype)
        if columns is None:
            shares *= labels
        if weights is not None:
            shares *= weights if columns is None else weights[columns]
        total = shares.sum().clamp_min_(torch.finfo(shares.dtype).tiny)
        likelihood = torch.where(reachable, likelihood, 1.0)
        ctx.save_for_backward(columns, shares, likelihood, total)
        ctx.shape = propagated.shape
        return likelihood.log().mul_(shares).sum() / -total

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Any) -> tuple[Tensor | None, ...]:
        columns, shares, likelihood, total = ctx.saved_tensors
        slopes = shares.div(likelihood).mul_(gradients[0] / -total)
        return slopes if columns is None else slopes.new_zeros(ctx.shape).scatter_(1, columns, slopes), None, None
