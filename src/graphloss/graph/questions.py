"""What is asked of a graph about its masked documents, and what the right answer is."""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional

from graphloss.graph.affinity import full_precision


@dataclass(frozen=True)
class Classes:
    """Which class each of them has.

    Attributes:
        labels: (B,) int64 or (B, C) float, the label rows of the documents.
        num_labels: C.
        class_weights: (C,) weights of the classes in the mean over documents; None for equal ones.
        memory: (M, d) points and (M,) or (M, C) labels of labelled nodes beside the documents; None for none.
    """

    labels: Tensor
    num_labels: int
    class_weights: Float[Tensor, " C"] | None
    memory: tuple[Tensor, Tensor] | None

    def answer(self, labelled: Int[Tensor, " l"], masked: Int[Tensor, " e"]) -> Tensor:
        """(e,) or (e, C), their labels."""
        return self.labels.index_select(0, masked)


class Members:
    """From which labelled documents each of them has its class: every labelled document is a class of its own.

    Args:
        of: the question of classes.
        dtype: of all that is given out.

    Attributes:
        labels: (B, K) float, a column of its own for each of B documents and M nodes of the memory.
        num_labels: K = B + M.
        class_weights: None; the answers are weighted.
        memory: points, and (M, K) their rows.
    """

    class_weights = None

    def __init__(self, of: Classes, dtype: torch.dtype) -> None:
        labels = of.labels if of.memory is None else torch.cat([of.labels, of.memory[1].to(of.labels)])
        if labels.ndim == 1:  # a first class for those that have none
            labels = functional.one_hot(labels.clamp_min(-1) + 1, of.num_labels + 1)[:, 1:]
        self.rows = labels.to(dtype).nan_to_num()
        self.size = len(of.labels)
        self.weights = None if of.class_weights is None else of.class_weights.to(self.rows)
        self.num_labels = len(labels)
        own = torch.eye(self.num_labels, dtype=dtype, device=labels.device)
        self.labels = own[: self.size]
        self.memory = None if of.memory is None else (of.memory[0], own[self.size :])

    def answer(self, labelled: Int[Tensor, " l"], masked: Int[Tensor, " e"]) -> Float[Tensor, "e K"]:
        """Evenly from the labelled members of its class. A row sums to the weight of the class, or to 0 where it has no
        labelled member."""
        given = torch.cat([labelled, torch.arange(self.size, self.num_labels, device=labelled.device)])
        alike = self.rows.new_zeros(len(masked), self.num_labels)
        with full_precision(self.rows):
            alike[:, given] = self.rows[masked] @ self.rows[given].T
            shares = functional.normalize(alike, p=1.0, dim=1)
            return shares if self.weights is None else shares * (self.rows[masked] @ self.weights)[:, None]
