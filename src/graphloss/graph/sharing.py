"""The rows of the graph shared out among processes.

Each process forms the affinities of its own nodes to all others, which is most of the work. The direct solver then
brings all rows among the nodes to infer together, and every process solves the same small system; the matrix-free one
leaves them where they are, and brings one column a class together at each step.
"""

from typing import Any, NamedTuple, Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional

from graphloss.graph.affinity import log_affinities
from graphloss.graph.attention import MAX_DIRECT
from graphloss.graph.harmonic import Factors, factor, iterate, rounding_share


@runtime_checkable
class Ranks(Protocol):
    """The processes of a run, each of which holds the same embeddings and labels.

    Attributes:
        index: of this process, from 0.
        count: of all.
    """

    @property
    def index(self) -> int: ...

    @property
    def count(self) -> int: ...

    def gather(self, rows: Tensor, counts: list[int]) -> Tensor:
        """The rows of all processes in their order, without gradient; `counts` says how many each has."""
        ...

    def gather_with_gradient(self, rows: Tensor, counts: list[int]) -> Tensor:
        """The same; what the gathered rows get as gradient in each process is summed over the processes."""
        ...

    def counts(self, rows: Tensor) -> list[int]:
        """How many rows each process has."""
        ...

    def total(self, values: Tensor) -> Tensor:
        """The sum over all processes, without gradient."""
        ...

    def with_mean_gradient(self, parameter: Tensor) -> Tensor:
        """A value that is the same in all processes; the gradient it gets is their mean."""
        ...


def shares(rows: int, count: int) -> list[int]:
    """How many of so many rows each of `count` processes takes: as nearly equal numbers as can be."""
    each, more = divmod(rows, count)
    return [each + (index < more) for index in range(count)]


def own_share(rows: int, ranks: Ranks) -> slice:
    """The rows that this process takes of so many."""
    counts = shares(rows, ranks.count)
    start = sum(counts[: ranks.index])
    return slice(start, start + counts[ranks.index])


class Sources(NamedTuple):
    """Where labels come from.

    Attributes:
        labelled: (l,) int64, row numbers of the documents whose labels are given.
        targets: (l + M, C + 1) float, their label rows and those of the memory, and a last column of ones.
        shares: (C + 1,) float, what teleport leads to; zero in the last column; constant.
        memory: (M, d) float, labelled nodes beside the documents, constant.
        teleport: t in (0, 1].
    """

    labelled: Int[Tensor, " l"]
    targets: Float[Tensor, "k C1"]
    shares: Float[Tensor, " C1"]
    memory: Float[Tensor, "M d"] | None
    teleport: float


def infer_shared(
    nodes: Float[Tensor, "B d"],
    inferred: Int[Tensor, " u"],
    sources: Sources,
    width: float | Tensor,
    *,
    solver: str,
    ranks: Ranks,
) -> Float[Tensor, "u C"]:
    """The harmonic solution over row-normalized Gaussian affinities, this process forming its share of the rows.

    Args:
        nodes: (B, d) float, the documents of all processes, the same in each.
        inferred: (u,) int64, row numbers of the nodes to infer.
        sources: where labels come from.
        width: sigma; (B,) for a width of each document.
        solver: one of `SOLVERS`.
        ranks: the processes.

    Returns:
        (u, C), the same in each process. Gradients are `ranks.count` times those of a loss that each process computes
        alike, so that their mean over the processes is its gradient.
    """
    columns = sources.labelled
    if sources.memory is not None:
        remembered = torch.arange(len(sources.memory), device=nodes.device) + len(nodes)
        nodes, columns = torch.cat([nodes, sources.memory]), torch.cat([columns, remembered])
    logs = log_affinities(nodes, inferred[own_share(len(inferred), ranks)], width)
    rows = torch.softmax(logs, dim=1)
    iterative = solver == "matrix-free" or (solver == "auto" and len(inferred) > MAX_DIRECT)
    return _SharedSolve.apply(
        rows[:, inferred],
        rows[:, columns] @ sources.targets,
        sources.shares,
        torch.logsumexp(logs.detach(), dim=1) if iterative else None,
        sources.teleport,
        ranks,
    )


class _SharedSolve(torch.autograd.Function):
    """From the own rows of P_uu and of P_ul Y_l, and, where it is to iterate, the logarithms of the own degrees: times
    the degrees, P is symmetric."""

    @staticmethod
    def forward(
        ctx: Any,
        among: Tensor,
        reach: Tensor,
        class_shares: Tensor,
        log_degrees: Tensor | None,
        teleport: float,
        ranks: Ranks,
    ) -> Tensor:
        ctx.counts, ctx.own = shares(among.shape[1], ranks.count), own_share(among.shape[1], ranks)
        ctx.stay, ctx.ranks = 1.0 - teleport, ranks
        whole_reach = ranks.gather(reach, ctx.counts)
        sources = torch.lerp(whole_reach, class_shares, teleport)
        factors, weights = None, None
        if log_degrees is not None:
            weights = ranks.gather(log_degrees, ctx.counts)
            start = sources / sources[:, :-1].sum(dim=1, keepdim=True)
            solution = _iterate(lambda values: ranks.gather(among @ values, ctx.counts), sources, start, weights, ctx)
            solution = torch.maximum(solution, sources)  # all that walks of more steps add is positive
        else:
            factors = factor(ranks.gather(among, ctx.counts), whole_reach[:, -1], teleport)
            solution = factors.solve(sources)
        labels, leaked = solution[:, :-1], solution[:, -1:]
        total = labels.sum(dim=1, keepdim=True)
        labels = labels / total
        reached = leaked > rounding_share(total, teleport)
        ctx.save_for_backward(
            labels, reached, None if log_degrees is None else among, weights, *(factors or (None, None))
        )
        return labels

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Any) -> tuple[Tensor | None, ...]:
        labels, reached, among, weights, lu, pivots = ctx.saved_tensors
        if among is None:
            adjoint = Factors(lu, pivots).solve_transposed(gradients[0])
        else:
            own = among.mT
            adjoint = _iterate(
                lambda values: ctx.ranks.total(own @ values[ctx.own]), gradients[0], gradients[0], -weights, ctx
            )
        adjoint = (adjoint * reached)[ctx.own] * (ctx.stay * ctx.ranks.count)
        return adjoint @ labels.mT, functional.pad(adjoint, (0, 1)), None, None, None, None


def _iterate(step: Any, sources: Tensor, start: Tensor, log_weights: Tensor, ctx: Any) -> Tensor:
    tolerance = 8.0 * torch.finfo(sources.dtype).eps
    return iterate(lambda values: step(values).mul_(ctx.stay), sources, start, log_weights, tolerance)
