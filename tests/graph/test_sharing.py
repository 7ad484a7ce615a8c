"""Rows shared out among processes, here threads, give what one process gives."""

import threading
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from graphloss import GLoss
from graphloss.graph.sharing import own_share, shares


class Threads:
    """What threads that stand for processes tell each other."""

    def __init__(self, count: int) -> None:
        self.count, self.barrier = count, threading.Barrier(count, timeout=30)
        self.given: list[Tensor] = [torch.empty(0)] * count

    def exchange(self, index: int, values: Tensor) -> list[Tensor]:
        self.given[index] = values.detach().clone()
        self.barrier.wait()
        found = list(self.given)
        self.barrier.wait()
        return found


class Rank:
    """One of them."""

    def __init__(self, threads: Threads, index: int) -> None:
        self.threads, self.index, self.count = threads, index, threads.count

    def gather(self, rows: Tensor, counts: list[int]) -> Tensor:
        found = self.threads.exchange(self.index, rows)
        assert [len(each) for each in found] == counts
        return torch.cat(found)

    def total(self, values: Tensor) -> Tensor:
        return torch.stack(self.threads.exchange(self.index, values)).sum(dim=0)

    def counts(self, rows: Tensor) -> list[int]:
        raise NotImplementedError  # of trainers

    gather_with_gradient = counts

    def with_mean_gradient(self, parameter: Tensor) -> Tensor:
        return parameter


def in_threads(count: int, task: Callable[[Rank], Any]) -> list[Any]:
    threads, found = Threads(count), [None] * count

    def run(index: int) -> None:
        try:
            found[index] = task(Rank(threads, index))
        except BaseException:
            threads.barrier.abort()
            raise

    started = [threading.Thread(target=run, args=(index,)) for index in range(count)]
    for thread in started:
        thread.start()
    for thread in started:
        thread.join()
    return found


@pytest.mark.parametrize("solver", ["direct", "matrix-free"])
@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"bandwidth": "local"},
        {"memory_size": 20},
        {"masking": "folds"},
        {"objective": "members", "memory_size": 20},
    ],
)
@pytest.mark.parametrize("count", [2, 5])
def test_shared_rows_give_the_loss_and_the_gradient_of_one_process(
    solver: str, settings: dict[str, Any], count: int
) -> None:
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(4, (41,), generator=generator)
    labels[3:6] = -100
    points = torch.eye(4, 16)[labels.clamp_min(0)] + 0.4 * torch.randn(41, 16, generator=generator)
    before = torch.randn(25, 16, generator=generator), torch.arange(25) % 4

    def loss_and_gradient(ranks: Rank | None) -> tuple[Tensor, Tensor]:
        loss = GLoss(4, solver=solver, ranks=ranks, **settings)
        loss(*before)  # for the memory
        own = points.clone().requires_grad_()
        value = loss(own, labels)
        return value.detach(), torch.autograd.grad(value, own)[0]

    value, gradient = loss_and_gradient(None)
    found = in_threads(count, loss_and_gradient)
    for each, _ in found:
        torch.testing.assert_close(each, value, rtol=1e-5, atol=1e-6)
    # what a gather sums over the processes, and an engine divides by their number
    mean = torch.stack([each for _, each in found]).sum(dim=0) / count
    torch.testing.assert_close(mean, gradient, rtol=1e-3, atol=2e-6)


@pytest.mark.parametrize("rows", [0, 1, 7, 64])
def test_shares_cover_all_rows_once(rows: int) -> None:
    for count in (1, 2, 3, 8):
        taken = [list(range(rows))[own_share(rows, Rank(Threads(count), index))] for index in range(count)]
        assert [row for own in taken for row in own] == list(range(rows))
        assert shares(rows, count) == [len(own) for own in taken]
