import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from graphloss.graph import split_batch


def draw(labels: Tensor, fraction: float = 0.7, masking: str = "stratified", seed: int = 0) -> tuple[set, set]:
    [(labelled, masked)] = split_batch(labels, fraction, masking, torch.Generator().manual_seed(seed))
    return set(labelled.tolist()), set(masked.tolist())


@pytest.mark.parametrize("masking", ["stratified", "random"])
def test_the_parts_are_the_labelled_documents_in_the_fraction_asked_for(masking: str) -> None:
    labels = torch.randint(0, 5, (128,), generator=torch.Generator().manual_seed(0))
    labels[:28] = -100
    labelled, masked = draw(labels, 0.7, masking)
    assert len(labelled) == 70
    assert labelled | masked == set(range(28, 128))
    assert not labelled & masked


@pytest.mark.parametrize("masking", ["stratified", "random"])
def test_the_generator_alone_decides(masking: str) -> None:
    labels = torch.arange(40) % 4
    assert draw(labels, masking=masking, seed=3) == draw(labels, masking=masking, seed=3)
    assert draw(labels, masking=masking, seed=3) != draw(labels, masking=masking, seed=4)


def test_stratified_masks_no_class_without_a_labelled_member() -> None:
    """On the histogram of R52, at the batch sizes that people can afford; random masks orphan many."""
    sizes = torch.tensor([2600, 1400, 220, 200, 180, 100, 90, 80, *[30] * 10, *[10] * 20, *[1] * 4])
    population = torch.repeat_interleave(torch.arange(len(sizes)), sizes)
    orphans = {"stratified": 0, "random": 0}
    for seed in range(50):
        order = torch.randperm(len(population), generator=torch.Generator().manual_seed(seed))
        labels = population[order[:64]]
        for masking in orphans:
            labelled, masked = draw(labels, 0.7, masking, seed)
            present = {int(labels[row]) for row in labelled}
            orphans[masking] += sum(int(labels[row]) not in present for row in masked)
    assert orphans["stratified"] == 0
    assert orphans["random"] > 100


def test_over_steps_every_document_of_a_class_with_two_is_masked() -> None:
    labels = torch.tensor([0] * 20 + [1] * 2 + [2] * 3 + [3])
    ever_masked = set().union(*(draw(labels, seed=seed)[1] for seed in range(60)))
    assert ever_masked == set(range(25))  # all but the only member of class 3


@pytest.mark.parametrize(("documents", "sizes"), [(0, (0, 0)), (1, (1, 0)), (2, (1, 1)), (3, (2, 1))])
def test_small_batches(documents: int, sizes: tuple[int, int]) -> None:
    labelled, masked = draw(torch.zeros(documents, dtype=torch.int64))
    assert (len(labelled), len(masked)) == sizes


def test_the_ends_of_the_fraction() -> None:
    labels = torch.arange(10) % 2
    assert draw(labels, 0.0)[0] == set()
    assert draw(labels, 1.0)[1] == set()
    assert len(draw(labels, 0.01)[0]) == 1
    with pytest.raises(ValueError, match="masking"):
        draw(labels, 0.5, "folds of none")


@settings(max_examples=60, deadline=None)
@given(documents=st.integers(0, 40), classes=st.integers(1, 12), fraction=st.floats(0, 0.9), seed=st.integers(0, 2**31))
def test_folds_mask_each_document_once_beside_a_labelled_one_of_its_class(
    documents: int, classes: int, fraction: float, seed: int
) -> None:
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(0, classes, (documents,), generator=generator)
    labels[::7] = -100
    known = torch.nonzero(labels != -100).squeeze(1).tolist()
    splits = split_batch(labels, fraction, "folds", generator)
    assert len(splits) == min(max(round(1 / (1 - fraction)), 2), len(known))
    assert sorted(row for _, masked in splits for row in masked.tolist()) == known
    for labelled, masked in splits:
        assert sorted(labelled.tolist() + masked.tolist()) == known
        for row in masked.tolist():
            mates = sum(labels[other] == labels[row] for other in known)
            assert mates == 1 or labels[row] in labels[labelled]


def test_folds_need_labels_to_hide() -> None:
    with pytest.raises(ValueError, match="below 1, got 1"):
        split_batch(torch.arange(4), 1.0, "folds", torch.Generator())
