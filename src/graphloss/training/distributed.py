"""What several processes of one run must do together; the only file that knows of collectives.

A loss over the documents of all processes is computed alike in each of them, from embeddings that were gathered. The
gradient that a process's own embeddings get is the sum over all processes, and engines take the mean of the gradients
of weights: together they are those of one process that holds all documents.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from accelerate import PartialState
from datasets import Dataset
from torch import Tensor, distributed
from torch.autograd.function import once_differentiable

from graphloss.models.forward import Answers

Decision = TypeVar("Decision")


@dataclass(frozen=True)
class ProcessGroup:
    """All processes of a run.

    Attributes:
        index: of this process, from 0.
        count: of all, two at least.
    """

    index: int
    count: int

    @property
    def device(self) -> torch.device:
        """What the collectives work on."""
        return PartialState().device

    @classmethod
    def of_this_run(cls) -> "ProcessGroup | None":
        """The processes that torchrun or `accelerate launch` started; None for one process alone."""
        if not distributed.is_available() or not distributed.is_initialized() or distributed.get_world_size() == 1:
            return None
        return cls(distributed.get_rank(), distributed.get_world_size())

    def counts(self, rows: Tensor) -> list[int]:
        """How many rows each process has."""
        return self.gather(torch.tensor([len(rows)], device=rows.device), [1] * self.count).tolist()

    def gather(self, rows: Tensor, counts: list[int]) -> Tensor:
        """The rows of all processes in their order, without gradient.

        Args:
            rows: (n, ...), of one type and width in all processes.
            counts: n of each process, of `counts`.
        """
        rows = rows.detach()
        padded = rows.new_zeros(max(counts), *rows.shape[1:])
        padded[: len(rows)] = rows
        found = [torch.empty_like(padded) for _ in counts]
        distributed.all_gather(found, padded)
        return torch.cat([each[:count] for each, count in zip(found, counts, strict=True)])

    def gather_with_gradient(self, rows: Tensor, counts: list[int]) -> Tensor:
        """The same; what the gathered rows get as gradient in each process is summed over the processes."""
        return _Gather.apply(rows, counts, self)

    def total(self, values: Tensor) -> Tensor:
        """The sum over all processes, without gradient."""
        values = values.detach().clone()
        distributed.all_reduce(values)
        return values

    def largest(self, own: int) -> int:
        """The largest of the numbers that the processes have."""
        return int(self.gather(torch.tensor([own], device=self.device), [1] * self.count).max())

    def with_mean_gradient(self, parameter: Tensor) -> Tensor:
        """A value that is the same in all processes; the gradient it gets is their mean, as for weights."""
        return _MeanGradient.apply(parameter, self)


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, rows: Tensor, counts: list[int], group: ProcessGroup) -> Tensor:
        ctx.counts, ctx.group = counts, group
        return group.gather(rows, counts)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Any) -> tuple[Tensor, None, None]:
        start = sum(ctx.counts[: ctx.group.index])
        return ctx.group.total(gradients[0])[start : start + ctx.counts[ctx.group.index]], None, None


class _MeanGradient(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, parameter: Tensor, group: ProcessGroup) -> Tensor:
        ctx.group = group
        return parameter.clone()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Any) -> tuple[Tensor, None]:
        return ctx.group.total(gradients[0]) / ctx.group.count, None


def agreed(decide: Callable[[], Decision]) -> Decision:
    """What the first process decides, in all processes; in a run of one process, what it decides."""
    group = ProcessGroup.of_this_run()
    if group is None:
        return decide()
    decision = [decide() if group.index == 0 else None]
    distributed.broadcast_object_list(decision)
    return decision[0]  # type: ignore[return-value]


def holds_anywhere(own: bool) -> bool:
    """Whether something holds in one of the processes at least."""
    group = ProcessGroup.of_this_run()
    return own if group is None else bool(group.total(torch.tensor([int(own)], device=group.device)))


def in_shares(tokens: Dataset, answer: Callable[[Dataset], Answers]) -> Answers:
    """What a classifier says of documents, each process asking it about a share of them.

    Args:
        tokens: n documents, the same in all processes.
        answer: gives what it says of some of them, on the CPU.
    """
    group = ProcessGroup.of_this_run()
    if group is None or len(tokens) < group.count:
        return answer(tokens)
    shares = [range(index, len(tokens), group.count) for index in range(group.count)]
    own = answer(tokens.select(shares[group.index]))
    counts, device = [len(rows) for rows in shares], group.device
    back = torch.cat([torch.tensor(rows) for rows in shares]).argsort()
    return Answers(*(group.gather(values.to(device), counts).cpu()[back] for values in own))


def wait_for_all() -> None:
    """Go on when all processes have come here."""
    if ProcessGroup.of_this_run() is not None:
        distributed.barrier()


def leave() -> None:
    """End what the processes do together; each is alone from here on."""
    if ProcessGroup.of_this_run() is not None:
        distributed.barrier()
        distributed.destroy_process_group()
