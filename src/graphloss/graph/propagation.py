"""Closed-form label propagation and the loss on what it infers."""

from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional

from graphloss.graph.affinity import transition_rows, unit_rows
from graphloss.graph.bandwidth import bandwidth_sqrt
from graphloss.graph.harmonic import attention_labels, harmonic_labels

OBJECTIVES = ("nll", "released", "released-combined")


def propagate(
    embeddings: Float[Tensor, "B d"],
    labels: Int[Tensor, " B"],
    labelled: Int[Tensor, " l"],
    evaluated: Int[Tensor, " e"],
    *,
    num_labels: int,
    bandwidth: float,
    transition: str = "row",
    teleport: float = 0.0,
    normalize: bool = True,
) -> Float[Tensor, "e C"]:
    """Infer the labels of documents from those of others by the harmonic solution on their graph.

    Solves f = P_uu f + P_ul Y_l for all nodes u that are not labelled. With a row-stochastic transition each row of
    the answer is a distribution over the classes that the labelled documents have.

    Args:
        embeddings: (B, d) float. Below float32 they are raised to float32; autocast does not touch what happens here.
        labels: (B,) int64; only those of `labelled` are read.
        labelled: (l,) int64 row numbers of the documents whose labels are given.
        evaluated: (e,) int64 row numbers of the documents asked for; none of them in `labelled`. Rows in neither list
            take part as unlabelled nodes.
        num_labels: C, the number of classes.
        bandwidth: sigma of the Gaussian affinity, > 0.
        transition: "row", "released" or "column"; see `transition_rows`.
        teleport: with this probability a step of the walk ends at a labelled document drawn at random. It is never
            less than four units of rounding, which keeps the system regular: a node that no label reaches gets the
            class shares of the labelled documents, and no gradient.
        normalize: bring rows to unit length first, as in the paper.

    Returns:
        (e, C) float32 or float64. Without any labelled document every row is uniform.

    Raises:
        ValueError: for a bandwidth that is not positive and finite, a teleport outside [0, 1], an unknown transition,
            a label out of range, and a document that is both labelled and evaluated.

    Source: Zhu & Ghahramani (2002), learning from labelled and unlabelled data with label propagation; Sharma,
    Agarwal & Kumar (2025) for its place in a loss.
    """
    if not 0.0 < bandwidth < float("inf"):
        raise ValueError(f"bandwidth must be a positive finite number, got {bandwidth}")
    if not 0.0 <= teleport <= 1.0:
        raise ValueError(f"teleport must lie in [0, 1], got {teleport}")
    if torch.isin(evaluated, labelled).any():
        raise ValueError("evaluated documents must not be among the labelled ones")
    given = labels[labelled]
    if ((given < 0) | (given >= num_labels)).any():
        raise ValueError(f"labels of labelled documents must lie in [0, {num_labels}), found {given.unique().tolist()}")
    if len(labelled) == 0 or len(evaluated) == 0:
        return torch.full((len(evaluated), num_labels), 1.0 / num_labels, device=embeddings.device)
    return propagate_with_width(
        embeddings,
        labels,
        labelled,
        evaluated,
        num_labels=num_labels,
        bandwidth=bandwidth,
        transition=transition,
        teleport=teleport,
        normalize=normalize,
    )[0]


def propagate_with_width(
    embeddings: Float[Tensor, "B d"],
    labels: Int[Tensor, " B"],
    labelled: Int[Tensor, " l"],
    evaluated: Int[Tensor, " e"],
    *,
    num_labels: int,
    bandwidth: float | None,
    transition: str,
    teleport: float,
    normalize: bool = True,
) -> tuple[Float[Tensor, "e C"], float]:
    """As `propagate`, with the kernel width used; a bandwidth of None is that of `bandwidth_sqrt`.

    The arguments are trusted: l and e are above 0, the numbers in range.
    """
    with torch.autocast(embeddings.device.type, enabled=False):
        points = embeddings if embeddings.dtype == torch.float64 else embeddings.float()
        targets = points.new_zeros(len(labelled), num_labels).scatter_(1, labels[labelled, None], 1.0)
        teleport = max(teleport, 4.0 * torch.finfo(points.dtype).eps)
        inferred = _evaluated_first(len(points), labelled, evaluated)
        if transition == "row":
            order = torch.cat([inferred, labelled])
            solution, bandwidth = attention_labels(
                points,
                order,
                len(inferred),
                targets,
                bandwidth=bandwidth,
                teleport=teleport,
                normalize=normalize,
            )
        else:
            bandwidth = bandwidth_sqrt(points) if bandwidth is None else bandwidth
            rows = transition_rows(unit_rows(points) if normalize else points, inferred, bandwidth, transition)
            solution = harmonic_labels(
                rows[:, inferred],
                rows[:, labelled],
                targets,
                teleport=teleport,
                stochastic_rows=transition != "column",
            )
        return solution[: len(evaluated)], bandwidth


def propagation_loss(
    propagated: Float[Tensor, "e C"],
    labels: Int[Tensor, " e"],
    *,
    objective: str = "nll",
    class_weights: Float[Tensor, " C"] | None = None,
) -> Float[Tensor, ""]:
    """How far propagated labels are off the true ones.

    - "nll": the mean of -log f[true class], as the paper prints it. A document to whose class no labelled document
      belongs cannot be right whatever the embeddings: it leaves the mean.
    - "released": cross-entropy that takes the propagated probabilities for logits, as the released code does. A
      perfect answer still costs log(1 + (C - 1) / e): 0.31 with 2 classes, 2.98 with 52.
    - "released-combined": that, divided once more by the number of documents, as the released code does where it
      mixes the loss with cross-entropy.

    Args:
        propagated: (e, C) float, rows of `propagate`.
        labels: (e,) int64, the true classes of those rows.
        objective: one of `OBJECTIVES`.
        class_weights: (C,) float, weights of a weighted mean, as in `torch.nn.functional.cross_entropy`.

    Returns:
        A scalar; where no document can be evaluated, a zero that is connected to the graph.

    Raises:
        ValueError: for an unknown objective.

    Source: Sharma, Agarwal & Kumar (2025), the graph loss, and its released code.
    """
    if objective not in OBJECTIVES:
        raise ValueError(f"objective must be one of {', '.join(OBJECTIVES)}, got {objective!r}")
    if len(labels) == 0:
        return propagated.sum()
    weights = None if class_weights is None else class_weights.to(propagated)
    if objective != "nll":
        loss = functional.cross_entropy(propagated, labels, weight=weights)
        return loss / len(labels) if objective == "released-combined" else loss
    return _NegativeLogLikelihood.apply(propagated, labels, weights)


class _NegativeLogLikelihood(torch.autograd.Function):
    """The weighted mean of -log f[label] over the rows where that is finite; one node where autograd takes five."""

    @staticmethod
    def forward(ctx: Any, propagated: Tensor, labels: Tensor, weights: Tensor | None) -> Tensor:
        tiny = torch.finfo(propagated.dtype).tiny
        likelihood = propagated.gather(1, labels[:, None])
        shares = (likelihood > 0).to(likelihood)
        if weights is not None:
            shares *= weights[labels, None]
        shares /= shares.sum().clamp_min_(tiny)
        likelihood = likelihood.clamp_min_(tiny)
        ctx.save_for_backward(labels, shares / likelihood)
        ctx.shape = propagated.shape
        return -(likelihood.log() * shares).sum()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Any) -> tuple[Tensor | None, ...]:
        labels, slopes = ctx.saved_tensors
        return slopes.new_zeros(ctx.shape).scatter_(1, labels[:, None], slopes * -gradients[0]), None, None


def _evaluated_first(size: int, labelled: Tensor, evaluated: Tensor) -> Tensor:
    if len(labelled) + len(evaluated) == size:
        return evaluated
    rest = torch.ones(size, dtype=torch.bool, device=labelled.device)
    rest[labelled] = False
    rest[evaluated] = False
    return torch.cat([evaluated, torch.nonzero(rest).squeeze(1)])
