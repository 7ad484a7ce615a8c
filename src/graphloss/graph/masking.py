"""Which documents of a batch keep their label and which are masked, to be inferred by the graph.

Done in NumPy on the CPU: for a hundred labels, its calls cost a fraction of those of torch.
"""

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

MASKINGS = ("stratified", "random", "folds")
Split = tuple[Int[Tensor, " _"], Int[Tensor, " _"]]  # labelled and masked; of other sizes in each fold


def split_batch(
    labels: Int[Tensor, " B"], labelled_fraction: float, masking: str, generator: torch.Generator
) -> list[Split]:
    """Split the documents that have a label into those that keep it and those that are masked.

    - "random": any `labelled_fraction` of them, as in the paper.
    - "stratified": the same number, spread evenly over the classes, the first document of each class before all
      second ones: a class is masked only where another member keeps its label, as long as there are no more classes
      than labels to keep. Which members are masked changes from step to step with the generator.
    - "folds": 1 / (1 - labelled_fraction) splits, rounded, and two at least. Each document is masked in one of them and
      keeps its label in the others. The members of a class are dealt to the folds in turn: where it has two or more, a
      masked one meets a labelled one.

    Args:
        labels: (B,) int64 on the CPU; -100 where there is no label. Such rows are in neither part.
        labelled_fraction: gamma, from 0 to 1. At least one label is kept and one masked where 0 < gamma < 1 and two
            documents have labels.
        masking: one of `MASKINGS`.
        generator: the only source of randomness.

    Returns:
        Pairs of (l,) and (e,) int64 row numbers, labelled and masked, in no particular order: one pair, or one a fold.

    Raises:
        ValueError: for an unknown masking.

    Source: Sharma, Agarwal & Kumar (2025), the split of a batch; the stratification and the folds are ours.
    """
    if masking not in MASKINGS:
        raise ValueError(f"masking must be one of {', '.join(MASKINGS)}, got {masking!r}")
    given = labels.numpy()
    known = np.flatnonzero(given != -100)
    given = given[known]
    keys = torch.rand(len(known) + 1, generator=generator).numpy()
    keys, shift = keys[:-1], float(keys[-1])
    if masking == "folds":
        return _folds(known[(given + keys).argsort()], number_of_folds(labelled_fraction))
    kept = _number_kept(len(known), labelled_fraction)
    if masking == "random" or len(known) < 2:
        order = keys.argsort()
        labelled, masked = order[:kept], order[kept:]
    else:
        labelled, masked = _spread_over_classes(given, keys, kept, shift)
    return [(torch.from_numpy(known[labelled]), torch.from_numpy(known[masked]))]


def number_of_folds(labelled_fraction: float) -> int:
    """Folds of which all but one together hold about the labelled fraction.

    Raises:
        ValueError: for a fraction of which there is no such number, 1.
    """
    if labelled_fraction >= 1.0:
        raise ValueError(f"masking 'folds' needs a labelled_fraction below 1, got {labelled_fraction}")
    return max(round(1.0 / (1.0 - labelled_fraction)), 2)


def _folds(order: np.ndarray, folds: int) -> list[Split]:
    """Deal documents that are sorted by class to folds in turn."""
    fold = np.arange(len(order)) % folds
    return [
        (torch.from_numpy(order[fold != number]), torch.from_numpy(order[fold == number]))
        for number in range(min(folds, len(order)))
    ]


def _number_kept(known: int, labelled_fraction: float) -> int:
    kept = round(labelled_fraction * known)
    if 0.0 < labelled_fraction < 1.0 and known >= 2:
        kept = min(max(kept, 1), known - 1)
    return kept


def _spread_over_classes(
    labels: np.ndarray, keys: np.ndarray, kept: int, shift: float
) -> tuple[np.ndarray, np.ndarray]:
    """Keep one document of each class and, of the others, sorted by class, one at every so many steps."""
    order = (labels + keys).argsort()  # by class, at random within it; the sum is in float64
    classes = labels[order]
    first = np.concatenate([[True], classes[1:] != classes[:-1]])
    heads, others = order[first], order[~first]
    if len(heads) >= kept:
        heads = heads[keys[heads].argsort()]
        return heads[:kept], np.concatenate([heads[kept:], others])
    steps = np.floor(np.arange(len(others) + 1) * (kept - len(heads)) / len(others) + shift)
    chosen = steps[1:] > steps[:-1]
    return np.concatenate([heads, others[chosen]]), others[~chosen]
