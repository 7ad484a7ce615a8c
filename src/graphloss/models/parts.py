"""Documents in parts of like length, so that short ones are not padded to the longest of the batch."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor


class Budget(NamedTuple):
    """What a kind of device likes to be given at once.

    Attributes:
        tokens: the most in a part, padding included; a document that is longer has a part of its own.
        overhead: what one part more costs, in tokens that could be computed in that time.
    """

    tokens: int
    overhead: int


# On a CPU a part's matrices should stay in its caches, and freshly mapped memory costs more than arithmetic: steps of
# MiniLM in one to sixteen parts were timed. On a GPU a part should be large enough to hide the launching of kernels;
# its figures are estimates that no device has confirmed yet.
CPU, GPU = Budget(tokens=2_048, overhead=192), Budget(tokens=65_536, overhead=8_192)


def budget_of(device: torch.device) -> Budget:
    """The budget for a device."""
    return CPU if device.type == "cpu" else GPU


def parts_by_length(lengths: Int[Tensor, " n"], budget: Budget, most: int | None = None) -> list[Int[Tensor, " _"]]:
    """Sort documents by length and cut them into parts so that padding and overhead together cost least.

    Args:
        lengths: (n,) int64, in tokens.
        budget: of the device.
        most: documents in a part; None for any number.

    Returns:
        Row numbers of each part, on the CPU, the shortest documents first.
    """
    order = lengths.cpu().argsort(stable=True)
    ascending = lengths.cpu()[order].clamp_min(1).numpy()
    return list(order.split(_sizes(ascending, budget, most or len(ascending)))) if len(ascending) else []


def _sizes(ascending: np.ndarray, budget: Budget, most: int) -> list[int]:
    """Sizes of the parts of least cost, by dynamic programming over the places to cut."""
    count = len(ascending)
    cost = np.zeros(count + 1)
    start = np.zeros(count + 1, dtype=np.int64)
    for end in range(1, count + 1):
        length = int(ascending[end - 1])
        fitting = max(min(most, budget.tokens // length, end), 1)
        sizes = np.arange(fitting, 0, -1)
        costs = cost[end - fitting : end] + sizes * length
        best = int(costs.argmin())
        cost[end], start[end] = costs[best] + budget.overhead, end - fitting + best
    sizes_backwards = []
    while count:
        sizes_backwards.append(count - int(start[count]))
        count = int(start[count])
    return sizes_backwards[::-1]


def cut(inputs: dict[str, Tensor], parts: list[Int[Tensor, " _"]]) -> Iterator[dict[str, Tensor]]:
    """The tensors of each part, cut to its longest document.

    Args:
        inputs: (B, T) tensors of a model, with an attention_mask; padding on either side.
        parts: row numbers.
    """
    mask = inputs["attention_mask"].bool()
    for rows in parts:
        rows = rows.to(mask.device)
        columns = mask[rows].any(dim=0)
        yield {name: tensor[rows][:, columns] for name, tensor in inputs.items()}
