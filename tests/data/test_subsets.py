"""Fewer documents, drawn by a seed."""

from collections import Counter

import pytest

from graphloss.data.documents import Documents
from graphloss.data.splits import Splits
from graphloss.data.subsets import fewer_documents, fewer_labels


def documents(name: str, counts: dict[str | None, int]) -> Documents:
    labels = [label for label, count in counts.items() for _ in range(count)]
    return Documents([f"{name} {row}" for row in range(len(labels))], labels, source=name)


SPLITS = Splits(
    documents("train", {"a": 60, "b": 30, "c": 3, "d": 2, None: 5}),
    documents("validation", {"a": 20, "b": 10, "d": 1}),
    documents("test", {"a": 40, "b": 20, "c": 2, "d": 1}),
)


def test_labels_of_a_class_and_all_of_a_smaller_one() -> None:
    found, rest = fewer_labels(SPLITS, 4, seed=1)
    assert Counter(found.train.labels) == {"a": 4, "b": 4, "c": 3, "d": 2, None: 5}
    assert (found.validation, found.test) == (SPLITS.validation, SPLITS.test)
    assert Counter(rest.labels) == {"a": 56, "b": 26}
    assert not set(rest.texts) & set(found.train.texts)
    again, other, fewer = (fewer_labels(SPLITS, most, seed=seed)[0].train for most, seed in ((4, 1), (4, 2), (2, 1)))
    assert again.texts == found.train.texts != other.texts
    assert set(fewer.texts) < set(again.texts)  # fewer ones are among more


@pytest.mark.parametrize("most", [8, 20, 50])
def test_classes_keep_their_shares_and_two_training_documents(most: int) -> None:
    found = fewer_documents(SPLITS, most, seed=1)
    counts = Counter(found.train.labels)
    assert counts.total() == most
    assert min(counts[label] for label in "abcd") >= 2
    assert most == 8 or counts["a"] > 1.5 * counts["b"]
    assert len(found.validation) == min(most, 31)
    assert found.test is not None
    assert Counter(found.test.labels)["a"] == pytest.approx(most * 40 / 63, abs=1)


def test_classes_that_training_lost_are_not_asked_for() -> None:
    found = fewer_documents(SPLITS, 4, seed=1)
    names = set(found.train.labels)
    assert len(names) < 4
    assert found.test is not None
    assert set(found.validation.labels) | set(found.test.labels) <= names
    assert fewer_documents(SPLITS, 1_000, seed=1) == SPLITS
