"""Which documents of a batch keep their label and which are masked, to be inferred by the graph.

Done in NumPy on the CPU: for a hundred labels, its calls cost a fraction of those of torch.
"""

import numpy as np
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
        (l,) and (e,) int64 row numbers, labelled and masked, in no particular order.

    Raises:
        ValueError: for an unknown masking.

    Source: Sharma, Agarwal & Kumar (2025), the split of a batch; the stratification is ours.
    """
    if masking not in MASKINGS:
        raise ValueError(f"masking must be one of {', '.join(MASKINGS)}, got {masking!r}")
    keys = torch.rand(len(labels), 2, generator=generator, dtype=torch.float64).numpy()
    known = np.flatnonzero(labels.numpy() != -100)
    if masking == "stratified":
        order = known[_spread_over_classes(labels.numpy()[known], keys)]
    else:
        order = known[keys[known, 0].argsort()]
    kept = _number_kept(len(known), labelled_fraction)
    return torch.from_numpy(order[:kept]), torch.from_numpy(order[kept:])


def _number_kept(known: int, labelled_fraction: float) -> int:
    kept = round(labelled_fraction * known)
    if 0.0 < labelled_fraction < 1.0 and known >= 2:
        kept = min(max(kept, 1), known - 1)
    return kept


def _spread_over_classes(labels: np.ndarray, keys: np.ndarray) -> np.ndarray:
    """An order in which documents are taken one class after the other, in proportion to the sizes of the classes."""
    if len(labels) == 0:
        return labels
    order = (labels + keys[: len(labels), 0]).argsort()  # by class, at random within it
    classes, sizes = labels[order], np.bincount(labels)
    rank = np.arange(len(order)) - (sizes.cumsum() - sizes)[classes]
    first = rank == 0
    shift = keys[order[first], 1]  # one for each class that occurs, in order
    share = (rank + shift[first.cumsum() - 1]) / sizes[classes]
    return order[np.where(first, keys[: len(labels), 0] - 1.0, share).argsort()]
