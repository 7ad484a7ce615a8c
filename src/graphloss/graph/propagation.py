"""Closed-form label propagation and the loss on what it infers."""

from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional

from graphloss.graph.affinity import transition_rows, unit_rows

OBJECTIVES = ("nll", "released", "released-combined")


def propagate(
    embeddings: Float[Tensor, "B d"],
    labels: Int[Tensor, " B"],
    labelled: Int[Tensor, " l"],
    evaluated: Int[Tensor, " e"],
    *,
    num_labels: int,
    bandwidth: float | Float[Tensor, ""],
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
        ValueError: for a bandwidth that is not positive and finite, a teleport outside [0, 1], or an unknown
            transition.

    Source: Zhu & Ghahramani (2002), learning from labelled and unlabelled data with label propagation; Sharma,
    Agarwal & Kumar (2025) for its place in a loss.
    """
    _check(bandwidth, teleport)
    with torch.autocast(embeddings.device.type, enabled=False):
        points = embeddings if embeddings.dtype == torch.float64 else embeddings.float()
        if len(labelled) == 0 or len(evaluated) == 0:
            return points.new_full((len(evaluated), num_labels), 1.0 / num_labels)
        points = unit_rows(points) if normalize else points
        unlabelled = _evaluated_first(len(points), labelled, evaluated)
        rows = transition_rows(points, unlabelled, bandwidth, transition)
        targets = functional.one_hot(labels[labelled], num_labels).to(points.dtype)
        solution = _harmonic(rows[:, unlabelled], rows[:, labelled], targets, transition, teleport)
        return solution[: len(evaluated)]


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
    weights = propagated.new_ones(propagated.shape[1]) if class_weights is None else class_weights.to(propagated)
    if objective != "nll":
        loss = functional.cross_entropy(propagated, labels, weight=weights)
        return loss / len(labels) if objective == "released-combined" else loss
    likelihood = propagated.gather(1, labels[:, None]).squeeze(1)
    reachable = likelihood > 0
    row_weights = weights[labels] * reachable
    losses = -torch.where(reachable, likelihood, 1.0).log()
    return (losses * row_weights).sum() / row_weights.sum().clamp_min(torch.finfo(losses.dtype).tiny)


def _check(bandwidth: float | Tensor, teleport: float) -> None:
    if not isinstance(bandwidth, Tensor) and not 0.0 < bandwidth < float("inf"):
        raise ValueError(f"bandwidth must be a positive finite number, got {bandwidth}")
    if not 0.0 <= teleport <= 1.0:
        raise ValueError(f"teleport must lie in [0, 1], got {teleport}")


def _evaluated_first(size: int, labelled: Tensor, evaluated: Tensor) -> Tensor:
    if len(labelled) + len(evaluated) == size:
        return evaluated
    rest = torch.ones(size, dtype=torch.bool, device=labelled.device)
    rest[labelled] = False
    rest[evaluated] = False
    return torch.cat([evaluated, torch.nonzero(rest).squeeze(1)])


def _harmonic(
    among: Float[Tensor, "u u"],
    towards: Float[Tensor, "u l"],
    targets: Float[Tensor, "l C"],
    transition: str,
    teleport: float,
) -> Float[Tensor, "u C"]:
    """f = (1 - t) (P_uu f + P_ul Y_l) + t s, with s the class shares of the labelled documents."""
    teleport = max(teleport, 4.0 * torch.finfo(among.dtype).eps)
    sources = torch.lerp(towards @ targets, targets.mean(dim=0), teleport)
    with torch.no_grad():
        # What rounding leaves of a row's sum of one: with it, the system keeps the leak of each row to the labelled
        # documents exactly, where 1 - p would lose a small one.
        row_sums = among.new_ones(len(among)) if transition == "column" else among.sum(1) + towards.sum(1)
    return _HarmonicSolve.apply(among, sources, torch.lerp(row_sums, row_sums.new_ones(()), teleport), 1.0 - teleport)


class _HarmonicSolve(torch.autograd.Function):
    """f of (diag(d) - a P) f = s, for a constant diagonal.

    The transpose of the system is what is factored: its columns are dominated by their diagonal, so that no pivot is
    ever exchanged and every sum in the elimination has terms of one sign. No entry of f can come out negative. The
    same factors serve the backward pass, which solves (diag(d) - a P)^T g = dL/df once: dL/dP = a g f^T, dL/ds = g.
    """

    @staticmethod
    def forward(ctx: Any, among: Tensor, sources: Tensor, diagonal: Tensor, stay: float) -> Tensor:
        factors, pivots = torch.linalg.lu_factor(torch.diag(diagonal) - stay * among.mT)
        solution = torch.linalg.lu_solve(factors, pivots, sources, adjoint=True)
        ctx.save_for_backward(factors, pivots, solution)
        ctx.stay = stay
        return solution

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        factors, pivots, solution = ctx.saved_tensors
        adjoint = torch.linalg.lu_solve(factors, pivots, gradients[0])
        return ctx.stay * adjoint @ solution.mT, adjoint, None, None
