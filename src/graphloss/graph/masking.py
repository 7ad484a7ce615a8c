"""Which documents of a batch keep their label and which are masked, to be inferred by the graph."""

import torch
from jaxtyping import Int
from torch import Tensor

MASKINGS = ("stratified", "random")


def split_batch(
    labels: Int[Tensor, " B"], labelled_fraction: float, masking: str, generator: torch.Generator
) -> tuple[Int[Tensor, " l"], Int[Tensor, " e"]]:
    """Split the documents that have a label into those that keep it and those that are masked.

    - "random": any `labelled_fraction` of them, as in the paper.
    - "stratified": the same number, spread evenly over the classes, the first document of each class before all
      second ones: a class is masked only where another member keeps its label, as long as there are no more classes
      than labels to keep. Which members are masked changes from step to step with the generator.

    Args:
        labels: (B,) int64 on the CPU; -100 where there is no label. Such rows are in neither part.
        labelled_fraction: gamma, from 0 to 1. At least one label is kept and one masked where 0 < gamma < 1 and two
            documents have labels.
        masking: one of `MASKINGS`.
        generator: the only source of randomness.

    Returns:
        (l,) and (e,) int64 row numbers, labelled and masked, each in ascending order.

    Raises:
        ValueError: for an unknown masking.

    Source: Sharma, Agarwal & Kumar (2025), the split of a batch; the stratification is ours.
    """
    known = torch.nonzero(labels != -100).squeeze(1)
    keys = torch.rand(len(known), generator=generator)
    if masking == "stratified":
        keys = _spread_over_classes(labels[known], keys, generator)
    elif masking != "random":
        raise ValueError(f"masking must be one of {', '.join(MASKINGS)}, got {masking!r}")
    order = known[torch.argsort(keys, stable=True)]
    kept = _number_kept(len(known), labelled_fraction)
    return order[:kept].sort().values, order[kept:].sort().values


def _number_kept(known: int, labelled_fraction: float) -> int:
    kept = round(labelled_fraction * known)
    if 0.0 < labelled_fraction < 1.0 and known >= 2:
        kept = min(max(kept, 1), known - 1)
    return kept


def _spread_over_classes(labels: Tensor, keys: Tensor, generator: torch.Generator) -> Tensor:
    """Keys by which documents are taken one class after the other, in proportion to the sizes of the classes."""
    _, classes, sizes = labels.unique(return_inverse=True, return_counts=True)
    order = torch.argsort(classes + keys)  # by class, at random within it
    starts = sizes.cumsum(0) - sizes
    rank = torch.empty_like(order)
    rank[order] = torch.arange(len(order)) - starts[classes[order]]
    shift = torch.rand(len(sizes), generator=generator)
    share = (rank + shift[classes]) / sizes[classes]
    return torch.where(rank == 0, keys - 1.0, share)
