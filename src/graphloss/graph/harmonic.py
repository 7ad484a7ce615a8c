"""The harmonic system on a graph, f = (1 - t) (P_uu f + P_ul Y_l) + t s: two ways to solve it.

P is the transition matrix, u the nodes to infer, l the labelled ones, Y_l their labels, t the teleport and s the class
shares among l.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional

MAX_SWEEPS = 250
MAX_LOG_WEIGHT = 30.0  # the squares of such weights still fit float32
DIVERGED = 1e3


class Factors(NamedTuple):
    """LU factors of the transpose of t + (1 - t) (diag(row sums) - P_uu)."""

    lu: Tensor
    pivots: Tensor

    def solve(self, sources: Float[Tensor, "u C"]) -> Float[Tensor, "u C"]:
        """The solution of the system itself."""
        return torch.linalg.lu_solve(self.lu, self.pivots, sources, adjoint=True)

    def solve_transposed(self, sources: Float[Tensor, "u C"]) -> Float[Tensor, "u C"]:
        """The solution of the transposed system, which the gradient needs."""
        return torch.linalg.lu_solve(self.lu, self.pivots, sources)


def factor(among: Float[Tensor, "u u"], leak: Float[Tensor, " u"] | None, teleport: float) -> Factors:
    """Factor the system of P_uu.

    The diagonal is formed from the leak of each row to the labelled nodes and the sum of P_uu over it, where 1 - p
    would lose a small leak. The transpose has columns dominated by their diagonal: no pivot is ever exchanged, every
    sum in the elimination has terms of one sign, and no entry of the solution can come out negative.

    Args:
        among: (u, u), P_uu.
        leak: (u,), the sums of P_ul over each row; None where rows of P are no distributions.
        teleport: t in (0, 1].
    """
    stays = 1.0 if leak is None else (among.sum(dim=1) + leak) * (1.0 - teleport) + teleport
    system = among * (teleport - 1.0)
    system.diagonal().add_(stays)
    lu, pivots, _ = torch.linalg.lu_factor_ex(system.mT)  # never singular: nothing to check for
    return Factors(lu, pivots)


def iterate(
    step: Callable[[Tensor], Tensor],
    sources: Float[Tensor, "u C"],
    start: Float[Tensor, "u C"],
    log_weights: Float[Tensor, " u"],
    tolerance: float,
) -> Float[Tensor, "u C"]:
    """Solve f = step(f) + sources without the matrix of `step`.

    Conjugate gradients, each column on its own, in the inner product in which `step` is self-adjoint; and then plain
    sweeps f <- step(f) + sources, at least one. A sweep is a contraction in any case, and so finishes what conjugate
    gradients cannot see where the weights of the inner product differ by more than the dtype holds.

    Args:
        step: (u, C) -> (u, C), linear, of spectral radius below one.
        sources: (u, C).
        start: (u, C), a first guess.
        log_weights: (u,), logarithms of the weights of the inner product.
        tolerance: on the largest entry of the residual f - step(f) - sources, relative to the largest entry of f and
            of the sources. After 250 rounds of either kind the best there is must do.
    """
    solution = _conjugate_gradients(step, sources, start, log_weights, tolerance)
    for _ in range(MAX_SWEEPS):
        following = step(solution).add_(sources)
        change, solution = following - solution, following
        if _largest(change) <= tolerance * max(_largest(sources), _largest(solution)):
            break
    return solution


def _conjugate_gradients(
    step: Callable[[Tensor], Tensor], sources: Tensor, start: Tensor, log_weights: Tensor, tolerance: float
) -> Tensor:
    weights = (log_weights - log_weights.median()).clamp_(-MAX_LOG_WEIGHT, MAX_LOG_WEIGHT).exp_()[:, None]
    residual = step(start).add_(sources).sub_(start)
    first = _largest(residual)
    bound = tolerance * _largest(sources)
    solution, direction, power = start, residual, (weights * residual.square()).sum(dim=0)
    for _ in range(MAX_SWEEPS):
        image = direction - step(direction)
        curvature = (weights * direction * image).sum(dim=0)
        length = torch.where(curvature > 0, power / curvature, 0.0)
        solution = torch.addcmul(solution, direction, length)
        residual = torch.addcmul(residual, image, length, value=-1.0)
        previous, power = power, (weights * residual.square()).sum(dim=0)
        direction = torch.addcmul(residual, direction, torch.where(previous > 0, power / previous, 0.0))
        largest = _largest(residual)
        if not largest <= DIVERGED * first:
            return start
        if largest <= bound:
            break
    return solution


def _largest(values: Tensor) -> float:
    return float(values.abs().amax())


def harmonic_labels(
    among: Float[Tensor, "u u"],
    reach: Float[Tensor, "u C1"],
    shares: Float[Tensor, " C1"],
    *,
    teleport: float,
    stochastic_rows: bool,
) -> Float[Tensor, "u C"]:
    """Labels inferred over a given transition matrix, differentiable in it.

    Args:
        among: (u, u), P_uu.
        reach: (u, C + 1), P_ul Y_l and, in the last column, the sums of P_ul over each row.
        shares: (C + 1,), s, and zero in the last column; constant.
        teleport: t in (0, 1].
        stochastic_rows: whether the rows of (P_uu, P_ul) sum to one.

    Returns:
        (u, C), no entry negative. Where rows are stochastic, they sum to one, and a node that no label reaches gets
        the shares; such nodes get no gradient.
    """
    return _Solve.apply(among, reach, shares, teleport, stochastic_rows)


class _Solve(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, among: Tensor, reach: Tensor, shares: Tensor, teleport: float, stochastic_rows: bool
    ) -> Tensor:
        factors = factor(among, reach[:, -1] if stochastic_rows else None, teleport)
        solution = factors.solve(torch.lerp(reach, shares, teleport))
        labels, leaked = solution[:, :-1], solution[:, -1:]
        total = labels.sum(dim=1, keepdim=True)
        reached = leaked > rounding_share(total, teleport)
        labels = labels / total if stochastic_rows else labels.clone()
        ctx.save_for_backward(*factors, labels, reached)
        ctx.stay = 1.0 - teleport
        return labels

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Any) -> tuple[Tensor | None, ...]:
        lu, pivots, labels, reached = ctx.saved_tensors
        adjoint = Factors(lu, pivots).solve_transposed(gradients[0]).mul_(reached * ctx.stay)
        return adjoint @ labels.mT, functional.pad(adjoint, (0, 1)), None, None, None


def rounding_share(total: Float[Tensor, "u 1"], teleport: float) -> Float[Tensor, "u 1"]:
    """What labels must contribute to a node, so that its gradient is more than rounding blown up by the solve."""
    return total * (torch.finfo(total.dtype).eps / teleport)
