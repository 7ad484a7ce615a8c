"""The harmonic solution on a graph, f = (1 - t) (P_uu f + P_ul Y_l) + t s, with hand-written gradients.

P is the transition matrix, u the nodes to infer, l the labelled ones, Y_l their labels, t the teleport and s the class
shares among l. Both functions here factor the system once and use the factors in the forward and the backward pass.
"""

from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.autograd.function import once_differentiable

from graphloss.graph.affinity import scale_to_unit, unit_gradient
from graphloss.graph.bandwidth import width_from_median


def harmonic_labels(
    among: Float[Tensor, "u u"],
    towards: Float[Tensor, "u l"],
    targets: Float[Tensor, "l C"],
    *,
    teleport: float,
    stochastic_rows: bool,
) -> Float[Tensor, "u C"]:
    """Labels inferred over a given transition matrix, differentiable in it.

    Args:
        among: (u, u), P_uu.
        towards: (u, l), P_ul.
        targets: (l, C), label rows of the labelled nodes; constant.
        teleport: t in (0, 1].
        stochastic_rows: whether the rows of (P_uu, P_ul) sum to one.

    Returns:
        (u, C), no entry negative.
    """
    sources = torch.lerp(towards @ targets, targets.mean(dim=0), teleport)
    row_sums = (among.sum(1) + towards.sum(1)).detach() if stochastic_rows else None
    return _Solve.apply(among, sources, row_sums, teleport)


def attention_labels(
    embeddings: Float[Tensor, "B d"],
    order: Int[Tensor, " B"],
    inferred: int,
    targets: Float[Tensor, "l C"],
    *,
    bandwidth: float | None,
    teleport: float,
    normalize: bool,
) -> tuple[Float[Tensor, "u C"], float]:
    """Labels inferred over row-normalized Gaussian affinities, straight from the embeddings.

    Row i of P is softmax over j != i of -|x_i - x_j|^2 / (2 sigma^2). The gradient needs no other matrix of that size:
    with g the adjoint solution and z the label rows of all nodes (f for u, Y for l), dL/dlogit_ij =
    (1 - t) P_ij g_i.(z_j - sum_k P_ik z_k).

    Args:
        embeddings: (B, d).
        order: (B,) int64 row numbers: the u nodes to infer first, then the l labelled ones.
        inferred: u.
        targets: (l, C), constant.
        bandwidth: sigma, constant; None for the one of `bandwidth_sqrt`, which is then had from the very distances that
            the affinities need, at half its cost.
        teleport: t in (0, 1].
        normalize: bring rows to unit length first.

    Returns:
        (u, C), no entry negative; and sigma.
    """
    return _Attention.apply(embeddings, order, inferred, targets, bandwidth, teleport, normalize)


def _factor(among: Tensor, row_sums: Tensor, teleport: float) -> tuple[Tensor, Tensor]:
    """LU factors of the transpose of t + (1 - t) (diag(row sums) - P_uu).

    The diagonal is formed from what rounding left of a row's sum of one. So the system keeps the leak of each row to
    the labelled nodes, where 1 - p would lose a small one. The transpose has columns dominated by their diagonal: no
    pivot is ever exchanged, every sum in the elimination has terms of one sign, and no entry of the solution can come
    out negative.
    """
    system = among.mT * (teleport - 1.0)
    system.diagonal().add_(row_sums * (1.0 - teleport) + teleport)
    factors, pivots, _ = torch.linalg.lu_factor_ex(system)  # never singular: nothing to check for
    return factors, pivots


class _Solve(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, among: Tensor, sources: Tensor, row_sums: Tensor | None, teleport: float) -> Tensor:
        factors, pivots = _factor(among, among.new_ones(len(among)) if row_sums is None else row_sums, teleport)
        solution = torch.linalg.lu_solve(factors, pivots, sources, adjoint=True)
        if row_sums is not None:
            solution /= solution.sum(dim=1, keepdim=True)
        ctx.save_for_backward(factors, pivots, solution)
        ctx.stay = 1.0 - teleport
        return solution

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Any) -> tuple[Tensor | None, ...]:
        factors, pivots, solution = ctx.saved_tensors
        adjoint = torch.linalg.lu_solve(factors, pivots, gradients[0])
        return ctx.stay * adjoint @ solution.mT, adjoint, None, None


class _Attention(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        embeddings: Tensor,
        order: Tensor,
        inferred: int,
        targets: Tensor,
        bandwidth: float | None,
        teleport: float,
        normalize: bool,
    ) -> tuple[Tensor, float]:
        points, inverse_length = embeddings.index_select(0, order), None
        if normalize:
            points, inverse_length = scale_to_unit(points)
        centred = points - points.mean(dim=0)
        lengths = torch.linalg.vecdot(centred, centred)
        rows = slice(inferred) if bandwidth is not None else slice(None)
        logits = torch.addmm(lengths, centred[rows], centred.mT, alpha=-2.0)
        if bandwidth is None:
            bandwidth = width_from_median(logits + lengths[:, None])
        # A row's own length is the same for all of its logits: the softmax takes it out.
        logits = logits[:inferred].mul_(-0.5 / bandwidth**2)
        logits.diagonal().fill_(-torch.inf)
        transition = logits.softmax(dim=1)
        factors, pivots = _factor(transition[:, :inferred], transition.sum(dim=1), teleport)
        sources = torch.lerp(transition[:, inferred:] @ targets, targets.mean(dim=0), teleport)
        solution = torch.linalg.lu_solve(factors, pivots, sources, adjoint=True)
        solution /= solution.sum(dim=1, keepdim=True)
        ctx.save_for_backward(order, points, inverse_length, centred, transition, factors, pivots, solution, targets)
        ctx.scale = (1.0 - teleport) / bandwidth**2
        return solution, bandwidth

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Any) -> tuple[Tensor | None, ...]:
        order, points, inverse_length, centred, transition, factors, pivots, solution, targets = ctx.saved_tensors
        inferred = len(solution)
        adjoint = torch.linalg.lu_solve(factors, pivots, gradients[0])
        received = adjoint @ torch.cat([solution, targets]).mT
        received -= torch.linalg.vecdot(transition, received)[:, None]
        logits = received.mul_(transition).mul_(ctx.scale)
        # The logits are x_i.x_j - |x_j|^2 / 2 over sigma^2; each row of their gradient sums to zero.
        gradient = logits.mT @ centred[:inferred]
        gradient.addcmul_(centred, logits.sum(dim=0)[:, None], value=-1.0)
        gradient[:inferred].addmm_(logits, centred)
        if inverse_length is not None:
            gradient = unit_gradient(points, inverse_length, gradient)
        return torch.empty_like(gradient).index_copy_(0, order, gradient), *[None] * 6
