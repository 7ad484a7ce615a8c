"""Labelled embeddings of the last batches: further nodes of the graph, at the cost of a column each."""

from collections import deque
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor


class Memory:
    """A ring of the labelled embeddings seen last.

    Args:
        size: M, the number of documents held at most.
        max_age: steps after which what a batch left is no longer used: the encoder has moved on since.

    Source: the ring of Wang et al. (2020), cross-batch memory for embedding learning, which pairs with earlier batches
    in the way this propagates from them.
    """

    def __init__(self, size: int, max_age: int) -> None:
        self.size, self.max_age = size, max_age
        self.clear()

    def clear(self) -> None:
        """Forget everything."""
        self._points: Tensor | None = None
        self._labels: Tensor | None = None
        self._next = 0
        self._batches: deque[tuple[int, int]] = deque()  # step and number of documents, the oldest first

    def add(self, points: Float[Tensor, "n d"], labels: Tensor, step: int) -> None:
        """Hold the documents of a batch, in place of the oldest ones.

        Args:
            points: (n, d) float, without gradient.
            labels: (n,) int64 or (n, C) float.
            step: when they were embedded.
        """
        points, labels = points[-self.size :], labels[-self.size :]
        if len(points) == 0:
            return
        if self._points is None or self._labels is None or self._points.shape[1] != points.shape[1]:
            self.clear()
            self._points = points.new_empty(self.size, points.shape[1])
            self._labels = labels.new_empty(self.size, *labels.shape[1:])
        places = torch.arange(self._next, self._next + len(points), device=points.device) % self.size
        self._points.index_copy_(0, places, points.to(self._points))
        self._labels.index_copy_(0, places, labels.to(self._labels))
        self._next = (self._next + len(points)) % self.size
        self._batches.append((step, len(points)))
        while sum(count for _, count in self._batches) - self._batches[0][1] >= self.size:
            self._batches.popleft()

    def recent(self, step: int) -> tuple[Float[Tensor, "m d"], Tensor] | None:
        """What is young enough at a step: points and labels; None where there is nothing."""
        while self._batches and not 0 <= step - self._batches[0][0] <= self.max_age:
            self._batches.popleft()
        young = min(sum(count for _, count in self._batches), self.size)
        if young == 0 or self._points is None or self._labels is None:
            return None
        return self._last(self._points, young), self._last(self._labels, young)

    def _last(self, ring: Tensor, count: int) -> Tensor:
        if count == self.size:
            return ring
        start = self._next - count
        return ring[start : self._next] if start >= 0 else torch.cat([ring[start:], ring[: self._next]])

    def state(self) -> dict[str, Any]:
        """Everything, in types that load with weights_only."""
        return {
            "points": self._points,
            "labels": self._labels,
            "next": self._next,
            "batches": [list(batch) for batch in self._batches],
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Take over what `state` gave."""
        self._points, self._labels, self._next = state["points"], state["labels"], state["next"]
        self._batches = deque((step, count) for step, count in state["batches"])
