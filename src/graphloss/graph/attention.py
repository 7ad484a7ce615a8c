"""Labels inferred over row-normalized Gaussian affinities, straight from the embeddings, with hand-written gradients.

Row i of P is softmax over j != i of -|x_i - x_j|^2 / (2 sigma_i sigma_j): attention between documents. Only the rows of
the documents to infer are ever formed (`graphloss.graph.walk`).
"""

from itertools import pairwise
from typing import Any, NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.autograd.function import once_differentiable

from graphloss.graph.affinity import (
    at_least_float32,
    full_precision,
    may_saturate,
    saturate,
    scale_to_unit_,
    squared_lengths,
    unit_gradient,
)
from graphloss.graph.bandwidth import width_from_median
from graphloss.graph.harmonic import Factors, factor, iterate, rounding_share
from graphloss.graph.walk import Kept, Walk

SOLVERS = ("auto", "direct", "matrix-free")
MAX_DIRECT = 1_000  # documents to infer up to which factoring is faster than iterating


class Problem(NamedTuple):
    """What is to be inferred, and how.

    Attributes:
        order: (B,) int64, row numbers: the u documents to infer first, then the others, all of them labelled.
        inferred: u.
        targets: (K - u, C + 1) float, the label rows of the others and of the memory, K = B + M, and a last column of
            ones.
        shares: (C + 1,) float, the mean of the label rows: what teleport leads to; zero in the last column, which
            counts what is had from labels otherwise.
        teleport: t in (0, 1].
        memory: (M, d) float, labelled nodes beside the B documents, constant; of unit length where rows are normalized.
        normalize: bring rows to unit length first.
        solver: one of `SOLVERS`.
        tolerance: of the iterative solution; see `iterate`. None for eight units of rounding.
    """

    order: Int[Tensor, " B"]
    inferred: int
    targets: Float[Tensor, "l C1"]
    shares: Float[Tensor, " C1"]
    teleport: float
    memory: Float[Tensor, "M d"] | None = None
    normalize: bool = True
    solver: str = "auto"
    tolerance: float | None = None

    @property
    def iterative(self) -> bool:
        """Whether the system is solved by iterations."""
        return self.solver == "matrix-free" or (self.solver == "auto" and self.inferred > MAX_DIRECT)


def attention_labels(
    embeddings: Float[Tensor, "B d"],
    bandwidth: float | Float[Tensor, ""] | Float[Tensor, " B"] | None,
    problem: Problem,
    report: dict[str, Any],
) -> Float[Tensor, "u C"]:
    """The harmonic solution, differentiable in the embeddings and, where it is a scalar tensor, in the width.

    With g the adjoint solution and z the label rows of all nodes (f for u, Y for l), dL/dlogit_ij =
    (1 - t) P_ij g_i.(z_j - sum_k P_ik z_k): nothing else of the size of P is needed.

    Args:
        embeddings: (B, d), of any floating type; the work is done in float32, or float64 for float64.
        bandwidth: sigma; (B,) for a width of each document, a constant then; None for that of `bandwidth_sqrt`, which
            is had from the very distances that the affinities need, at half its cost.
        problem: what is to be inferred.
        report: receives "bandwidth", and in the backward pass, in a dict "saturated", the number of entries of the
            gradient that exceeded their type.

    Returns:
        (u, C), no entry negative, rows that sum to one. Rows of documents that no label reaches are the class shares
        and get no gradient.

    Raises:
        ValueError: where embeddings are not finite.
    """
    return _Attention.apply(embeddings, bandwidth, problem, report)


class _Attention(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, embeddings: Tensor, bandwidth: float | Tensor | None, problem: Problem, report: dict[str, Any]
    ) -> Tensor:
        with full_precision(embeddings):
            points, inverse_lengths, shortest = at_least_float32(embeddings.index_select(0, problem.order)), None, 0.0
            if problem.normalize:
                inverse_lengths, shortest = scale_to_unit_(points)
            if problem.memory is not None:
                points = torch.cat([points, problem.memory])
            centre = points.mean(dim=0)
            centred = points.sub_(centre)
            squared = None
            if bandwidth is None:
                squared = _squared_distances(centred, problem.inferred)
                bandwidth = width_from_median(squared)
            width: float | Tensor
            if isinstance(bandwidth, Tensor) and bandwidth.ndim:
                width = bandwidth.to(points)[problem.order]
            else:
                width = float(bandwidth)
            walk = Walk(centred, problem.inferred, width)
            reach = walk.first_pass(problem.targets, squared, problem.iterative)
            solution, reached, factors = _solve(walk, reach, problem)
        report.setdefault("saturated", {})
        report["bandwidth"] = bandwidth if isinstance(width, Tensor) else width
        ctx.problem, ctx.report, ctx.width, ctx.dtype = problem, report, width, embeddings.dtype
        ctx.may_saturate = points.dtype != embeddings.dtype or may_saturate(shortest, width)
        rows, among, log_sums = walk.kept
        ctx.among = among if problem.iterative and rows is None else None
        ctx.save_for_backward(
            solution, reached, centre, inverse_lengths, centred, *(factors or (None, None)), rows, log_sums
        )
        return solution

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Any) -> tuple[Tensor | None, ...]:
        solution, reached, centre, inverse_lengths, centred, lu, pivots, rows, log_sums = ctx.saved_tensors
        problem = ctx.problem
        with full_precision(centred):
            among = ctx.among if rows is None else rows[:, : problem.inferred]
            walk = Walk(centred, problem.inferred, ctx.width, Kept(rows, among, log_sums))
            adjoint = _solve_transposed(walk, gradients[0], Factors(lu, pivots), problem).mul_(reached)
            if rows is None:  # the largest thing there is goes before more is made; a second pass forms it again
                ctx.among, walk.kept = None, Kept(log_sums=log_sums)
                del among
            gradient, of_width = _gradient(walk, adjoint, solution, problem, ctx.needs_input_grad[1])
            if inverse_lengths is not None:
                gradient = unit_gradient(centred, centre, inverse_lengths, gradient)
            gradient = gradient.index_select(0, problem.order.argsort())
            if ctx.may_saturate:
                gradient = saturate(gradient, ctx.dtype, ctx.report["saturated"], id(ctx))
        return gradient, of_width, None, None


def _squared_distances(centred: Tensor, nodes: int) -> Float[Tensor, "K K"]:
    """Squared distances, on the CPU only those that are needed: the first rows and what lies above the diagonal."""
    size = len(centred)
    lengths = squared_lengths(centred)
    squared = centred.new_empty(size, size)
    starts = (0, nodes, (nodes + size) // 2, size) if centred.device.type == "cpu" and size > 256 else (0, size)
    for start, stop in pairwise(starts):
        rows, columns, block = slice(start, stop), slice(start, size), squared[start:stop, start:]
        torch.addmm(lengths[columns], centred[rows], centred[columns].mT, alpha=-2.0, out=block)
        block.add_(lengths[rows, None])
    return squared


def _solve(
    walk: Walk, reach: Float[Tensor, "u C1"], problem: Problem
) -> tuple[Float[Tensor, "u C"], Bool[Tensor, "u 1"], Factors | None]:
    """The solution, and which nodes labels reach by more than rounding could: the last column is that of the leak."""
    teleport = problem.teleport
    sources = torch.lerp(reach, problem.shares, teleport)
    factors = None
    if problem.iterative:
        start = sources / sources[:, :-1].sum(dim=1, keepdim=True)
        solution = _iterate(walk.step, sources, start, walk.log_degrees(), problem)
        solution = torch.maximum(solution, sources)  # all that walks of more steps add is positive
    else:
        assert walk.kept.among is not None
        factors = factor(walk.kept.among, reach[:, -1], teleport)
        solution = factors.solve(sources)
    labels, leaked = solution[:, :-1], solution[:, -1:]
    total = labels.sum(dim=1, keepdim=True)
    return labels / total, leaked > rounding_share(total, teleport), factors


def _solve_transposed(walk: Walk, gradient: Tensor, factors: Factors, problem: Problem) -> Float[Tensor, "u C"]:
    if problem.iterative:
        return _iterate(walk.step_back, gradient, gradient, -walk.log_degrees(), problem)
    return factors.solve_transposed(gradient)


def _iterate(step: Any, sources: Tensor, start: Tensor, log_weights: Tensor, problem: Problem) -> Tensor:
    tolerance = problem.tolerance or 8.0 * torch.finfo(sources.dtype).eps
    stay = 1.0 - problem.teleport
    return iterate(lambda values: step(values).mul_(stay), sources, start, log_weights, tolerance)


def _gradient(
    walk: Walk, adjoint: Tensor, solution: Tensor, problem: Problem, wants_width: bool
) -> tuple[Float[Tensor, "B d"], Float[Tensor, ""] | None]:
    """Gradients with respect to the points and to the width, given the adjoint solution.

    With G = dL/dlogits and H = G + G^T, where G has rows of zeros for labelled nodes, x_i receives
    sum_j H_ij (x_j - x_i), over sigma^2.
    """
    size, nodes, scale = problem.order.shape[0], problem.inferred, walk.scale
    values = torch.cat([solution, problem.targets[:, :-1]])
    # sum_k P_ik z_k, which is (f_i - t s) / (1 - t), times g_i and (1 - t)
    means = torch.linalg.vecdot(adjoint, solution - problem.teleport * problem.shares[:-1])[:, None] * -scale
    adjoint = adjoint * ((1.0 - problem.teleport) * scale)
    points = walk.centred
    gradient, received = points.new_zeros(size, points.shape[1]), points.new_zeros(size, 1)
    of_width = points.new_zeros(()) if wants_width else None
    for tile in walk.tiles:
        start, stop, height = tile.start, tile.stop, tile.stop - tile.start
        rows = walk.rows(tile)
        logits = torch.addmm(means[tile], adjoint[tile], values[start:].mT).mul_(rows)
        if of_width is not None:  # a logit is log P_ij up to a constant of its row, and these sum to zero over a row
            of_width -= torch.xlogy(logits, rows).sum()
        square = logits[:, :height]
        square.add_(square.mT.clone())
        if stop < nodes:
            columns = walk.columns(tile)
            mirrored = torch.addmm(means[stop:].mT, values[tile], adjoint[stop:].mT).mul_(columns)
            if of_width is not None:
                of_width -= torch.xlogy(mirrored, columns).sum()
            logits[:, height : nodes - start].add_(mirrored)
        if walk.inverse_widths is not None:
            logits.mul_(walk.inverse_widths[tile, None]).mul_(walk.inverse_widths[start:])
        beyond = logits[:, height : size - start]
        gradient[tile].addmm_(logits, points[start:])
        gradient[stop:].addmm_(beyond.mT, points[tile])
        received[tile] += logits.sum(dim=1, keepdim=True)
        received[stop:] += beyond.sum(dim=0)[:, None]
    gradient.addcmul_(points[:size], received, value=-1.0)
    return gradient, None if of_width is None else of_width * (2.0 * scale**-0.5)
