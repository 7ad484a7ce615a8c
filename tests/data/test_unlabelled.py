"""Unlabelled documents: none that is measured on, and a place in every batch once training is under way."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from graphloss.data.documents import Documents
from graphloss.data.splits import Splits
from graphloss.data.unlabelled import MixedBatches, add_unlabelled
from graphloss.errors import InputError


@pytest.fixture
def splits() -> Splits:
    return Splits(
        Documents(["one", "two"], ["a", "b"], source="train.csv"),
        Documents(["Three  words\there"], ["a"]),
        Documents(["four"], ["b"]),
    )


def test_what_is_measured_on_is_left_out_and_named(splits: Splits) -> None:
    notes: list[str] = []
    others = Documents(["five", "FOUR", " one ", "three words here", "six"], ["x"] * 5, source="more.csv")
    train = add_unlabelled(splits, others, strict=False, say=notes.append).train
    assert train.texts == ["one", "two", "five", "six"]
    assert train.labels == ["a", "b", None, None]
    (note,) = notes
    assert "more.csv: 2 of 5 documents also stand in validation or test" in note
    assert "(rows 2, 4)" in note
    with pytest.raises(InputError, match=r"rows 2, 4.*--strict"):
        add_unlabelled(splits, others, strict=True, say=notes.append)


def test_nothing_left_and_pairs_on_one_side_are_refused(splits: Splits) -> None:
    with pytest.raises(InputError, match="no document remains"):
        add_unlabelled(splits, Documents(["one", "four"]), strict=False, say=print)
    with pytest.raises(InputError, match="pairs"):
        add_unlabelled(splits, Documents(["five"], text_pairs=["six"]), strict=False, say=print)


@given(
    labelled=st.integers(1, 40),
    unlabelled=st.integers(0, 60),
    batch_size=st.integers(1, 16),
    share=st.floats(0.0, 0.95),
    ramp_up=st.integers(0, 8),
    seed=st.integers(0, 3),
)
def test_an_epoch_takes_each_labelled_document_once(
    labelled: int, unlabelled: int, batch_size: int, share: float, ramp_up: int, seed: int
) -> None:
    labels = np.array([0] * labelled + [-100] * unlabelled)
    batches = MixedBatches(labels.tolist(), batch_size, share=share, ramp_up=ramp_up, seed=seed)
    counts = []
    taken: list[int] = []
    for epoch in range(3):
        batches.set_epoch(epoch)
        found = list(batches)
        assert len(found) == len(batches)
        assert max(map(len, found)) <= batch_size
        rows = np.concatenate(found)
        assert sorted(rows[labels[rows] == 0]) == list(range(labelled))
        assert found == list(batches)
        counts += [int((labels[batch] == -100).sum()) for batch in found]
        taken += rows[labels[rows] == -100].tolist()
    assert counts == sorted(counts)
    if unlabelled:
        assert counts[0] == (batches.room if ramp_up == 0 else 0)
        assert all(count == batches.room for count in counts[ramp_up:])
        times = np.bincount(taken, minlength=len(labels))[labels == -100]
        assert times.max() - times.min() <= 1  # each once before any twice


def test_other_epochs_and_seeds_are_other_batches() -> None:
    labels = [0] * 20 + [-100] * 20
    one = MixedBatches(labels, 8, share=0.5)
    first = list(one)
    one.set_epoch(1)
    assert list(one) != first
    assert list(MixedBatches(labels, 8, share=0.5, seed=1)) != first


def test_no_label_at_all_is_refused() -> None:
    with pytest.raises(ValueError, match="a document with a label"):
        MixedBatches([-100, -100], 4, share=0.5)
