import os
import time
from collections import Counter
from itertools import islice, pairwise
from pathlib import Path

import numpy as np
import pyarrow.parquet
import pytest
from accelerate.data_loader import prepare_data_loader
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.data import DataLoader

from graphloss.data.batching import ClassAwareBatches, SharedBatches

SKEWED_SIZES = [2840, 1400, 230, 210, 180, 150, 110, 95, 85, 80, 60, 50, 45, 40, 36, 33, 30, 28, 26, 24]
SKEWED_SIZES += [20, 18, 16, 14, 12, 10, 8, 6, 5, 4, 4, 4, 3, 3, 3, 3, *[2] * 6, *[1] * 10]


def labels_of(sizes: list[int], unlabelled: int = 0) -> list[int]:
    """Labels with so many documents a class, in no order."""
    labels = np.repeat([*range(len(sizes)), -100], [*sizes, unlabelled])
    return np.random.default_rng(0).permutation(labels).tolist()


def r52() -> list[int]:
    path = Path(os.environ.get("GRAPHLOSS_DATA", "nowhere")) / "r52" / "train.parquet"
    if not path.exists():
        pytest.skip("the variable GRAPHLOSS_DATA names no folder with r52/train.parquet")
    names = pyarrow.parquet.read_table(path)["label"].to_pylist()
    number = {name: index for index, name in enumerate(sorted(set(names)))}
    return [number[name] for name in names]


SKEWED = labels_of(SKEWED_SIZES)
CASES = {
    "skewed": lambda: (SKEWED, 128, 4),
    "skewed, all batches full": lambda: (SKEWED[: 45 * 128], 128, 4),
    "skewed, a third unlabelled": lambda: (labels_of(SKEWED_SIZES, 3000), 128, 4),
    "r52": lambda: (r52(), 128, 4),
    "20 balanced": lambda: (labels_of([50] * 20), 64, 4),
    "two": lambda: (labels_of([400, 300]), 32, 4),
    "two, one rare": lambda: (labels_of([1000, 40]), 32, 4),
    "a class a batch": lambda: (labels_of([64] * 10), 64, 64),
    "small classes only": lambda: (labels_of([3] * 300), 64, 4),
}
Case = tuple[list[int], int, int]


@pytest.fixture(params=CASES)
def case(request: pytest.FixtureRequest) -> Case:
    return CASES[request.param]()


def sampler(case: Case, seed: int = 0) -> ClassAwareBatches:
    labels, batch_size, documents_per_class = case
    return ClassAwareBatches(labels, batch_size, documents_per_class=documents_per_class, seed=seed)


def classes_in(labels: list[int], batch: list[int]) -> set[int]:
    return {labels[row] for row in batch} - {-100}


def places_of(batches: list[list[int]]) -> dict[int, int]:
    return {row: number for number, batch in enumerate(batches) for row in batch}


def classes_together(labels: list[int], batches: list[list[int]], sizes: range) -> float:
    """The share of classes of these sizes that have all their documents in one batch."""
    places = places_of(batches)
    rare = [label for label, count in Counter(labels).items() if count in sizes]
    whole = [len({places[row] for row in range(len(labels)) if labels[row] == label}) == 1 for label in rare]
    return sum(whole) / len(whole)


def test_the_skewed_sizes_are_those_of_r52_about() -> None:
    assert len(SKEWED_SIZES) == 52
    assert abs(sum(SKEWED_SIZES) - 5865) < 150


def test_every_document_once_in_batches_of_about_one_size(case: Case) -> None:
    labels, batch_size, documents_per_class = case
    batches = list(sampler(case))
    assert sorted(row for batch in batches for row in batch) == list(range(len(labels)))
    assert len(batches) == len(sampler(case)) == -(-len(labels) // batch_size)
    sizes = [len(batch) for batch in batches]
    assert max(sizes) <= batch_size
    assert max(sizes) - min(sizes) < 2 * documents_per_class


def test_no_batch_is_of_one_class(case: Case) -> None:
    batches = sampler(case)
    for epoch in range(5):
        batches.set_epoch(epoch)
        assert min(len(classes_in(case[0], batch)) for batch in batches) >= 2


@pytest.mark.parametrize("outside", [0, 7, 19, 20])
def test_as_few_batches_of_one_class_as_there_can_be(outside: int) -> None:
    labels = labels_of([1280 - outside, *[1] * outside])
    batches = list(ClassAwareBatches(labels, 64, documents_per_class=8))
    assert len(batches) == 20
    assert sum(len(classes_in(labels, batch)) == 1 for batch in batches) == 20 - outside


def test_a_batch_of_one_class_takes_from_large_classes_first() -> None:
    labels = labels_of([1000, 60, *[3] * 6])
    batches = sampler((labels, 32, 4))
    for epoch in range(5):
        batches.set_epoch(epoch)
        assert classes_together(labels, list(batches), range(3, 4)) == 1.0


def test_rare_classes_meet() -> None:
    batches = sampler((SKEWED, 128, 4))
    random = np.random.default_rng(0)
    for epoch in range(3):
        batches.set_epoch(epoch)
        shuffled = np.array_split(random.permutation(len(SKEWED)), len(batches))
        assert classes_together(SKEWED, [batch.tolist() for batch in shuffled], range(2, 5)) < 0.2
        assert classes_together(SKEWED, list(batches), range(2, 5)) == 1.0


def test_rare_classes_meet_in_r52() -> None:
    labels = r52()
    assert classes_together(labels, list(sampler((labels, 128, 4))), range(2, 5)) == 1.0


def test_rare_classes_meet_where_all_batches_are_full() -> None:
    case = CASES["skewed, all batches full"]()
    batches = sampler(case)
    for epoch in range(5):
        batches.set_epoch(epoch)
        assert {len(batch) for batch in batches} == {128}
        assert classes_together(case[0], list(batches), range(2, 5)) == 1.0


def test_few_rare_classes_are_cut_where_there_is_nothing_else_to_cut() -> None:
    labels = labels_of([3] * 300)
    assert classes_together(labels, list(sampler((labels, 64, 4))), range(3, 4)) > 0.9


def test_nearly_every_document_has_a_classmate_in_its_batch() -> None:
    labels = labels_of([50] * 50)
    batches = list(ClassAwareBatches(labels, 32, documents_per_class=4))
    alone = sum(count == 1 for batch in batches for count in Counter(labels[row] for row in batch).values())
    assert alone < 0.05 * len(labels)  # at random, about half


def test_chunks_of_a_class_are_spread_evenly() -> None:
    labels = labels_of([64] * 20)
    batches = list(ClassAwareBatches(labels, 64, documents_per_class=4))
    places = places_of(batches)
    for label in range(20):
        quarters = Counter(places[row] * 4 // 20 for row in range(len(labels)) if labels[row] == label)
        assert all(8 <= quarters[quarter] <= 24 for quarter in range(4))
    held = [len(classes_in(labels, batch)) for batch in batches]
    assert 12 <= sum(held) / len(held) <= 16


def test_classmates_change_from_epoch_to_epoch() -> None:
    labels = labels_of([64] * 20)
    batches = ClassAwareBatches(labels, 64, documents_per_class=4)
    pairs = []
    for epoch in range(2):
        batches.set_epoch(epoch)
        pairs.append(
            {(a, b) for batch in batches for a in batch for b in batch if a < b and labels[a] == labels[b]},
        )
    assert len(pairs[0] & pairs[1]) < 0.2 * len(pairs[0])


def test_smaller_chunks_come_early_as_often_as_late() -> None:
    labels = labels_of([6] * 200)
    places = places_of(list(ClassAwareBatches(labels, 64, documents_per_class=4)))
    met = [Counter(places[row] for row in range(len(labels)) if labels[row] == label) for label in range(200)]
    early = sum(batches[min(batches)] <= 2 for batches in met)
    assert 60 < early < 140


def test_a_large_class_is_in_every_batch_by_its_share() -> None:
    batches = sampler((SKEWED, 128, 4))
    share = 128 * SKEWED_SIZES[0] / len(SKEWED)
    for batch in batches:
        assert 0.6 * share < sum(SKEWED[row] == 0 for row in batch) < 1.4 * share


def test_unlabelled_documents_are_spread_evenly_and_at_random() -> None:
    labels = labels_of(SKEWED_SIZES, 3000)
    batches = list(sampler((labels, 128, 4)))
    counts = [sum(labels[row] == -100 for row in batch) for batch in batches]
    assert max(counts) - min(counts) < 2 * 4  # the labelled ones come in chunks
    rows = [row for batch in batches for row in batch if labels[row] == -100]
    assert sum(before < after for before, after in pairwise(rows)) < 0.6 * len(rows)
    assert classes_together(labels, batches, range(2, 5)) == 1.0


def test_the_order_is_a_function_of_seed_and_epoch(case: Case) -> None:
    batches = sampler(case)
    first = list(batches)
    assert list(batches) == first
    batches.set_epoch(1)
    second = list(batches)
    assert second != first
    batches.set_epoch(0)
    assert list(batches) == first
    assert list(sampler(case)) == first
    assert list(sampler(case, seed=1)) not in (first, second)
    # other classmates, not only other places
    chosen = next(row for row, label in enumerate(case[0]) if label == 0)
    assert set(first[places_of(first)[chosen]]) != set(second[places_of(second)[chosen]])


@pytest.mark.parametrize("taken", [0, 1, 7, 45])
def test_an_interrupted_epoch_goes_on_exactly(taken: int) -> None:
    batches = sampler((SKEWED, 128, 4))
    batches.set_epoch(3)
    assert len(list(islice(batches, taken))) == taken
    state = batches.state_dict()
    assert state == {"epoch": 3, "batch": taken}
    whole = list(batches)

    resumed = sampler((SKEWED, 128, 4))
    resumed.load_state_dict(state)
    assert resumed.state_dict() == state
    resumed.set_epoch(3)  # as trainers do, at the start of each epoch
    assert list(resumed) == whole[taken:]
    assert resumed.state_dict() == {"epoch": 3, "batch": len(whole)}
    assert list(resumed) == whole


def test_another_epoch_than_that_of_the_state_starts_at_its_first_batch() -> None:
    batches = sampler((SKEWED, 128, 4))
    batches.set_epoch(4)
    whole = list(batches)
    resumed = sampler((SKEWED, 128, 4))
    resumed.load_state_dict({"epoch": 3, "batch": 46})
    resumed.set_epoch(4)
    assert resumed.state_dict() == {"epoch": 4, "batch": 0}
    assert list(resumed) == whole


def test_a_state_of_a_whole_epoch_leaves_nothing() -> None:
    batches = sampler((SKEWED, 128, 4))
    length = len(list(batches))
    resumed = sampler((SKEWED, 128, 4))
    resumed.load_state_dict(batches.state_dict())
    assert list(resumed) == []
    assert len(list(resumed)) == length


@pytest.mark.parametrize("prepare", [False, True], ids=["torch", "accelerate"])
def test_through_a_loader(prepare: bool) -> None:
    batches = sampler((SKEWED, 128, 4))
    loader = DataLoader(SKEWED, batch_sampler=batches)
    if prepare:
        loader = prepare_data_loader(loader, num_processes=1, process_index=0)
        loader.set_epoch(1)
    batches.set_epoch(1)
    expected = [[SKEWED[row] for row in batch] for batch in batches]
    assert len(loader) == len(expected)
    assert [batch.tolist() for batch in loader] == expected
    batches.load_state_dict({"epoch": 1, "batch": 40})
    if prepare:
        loader.set_epoch(1)
    assert [batch.tolist() for batch in loader] == expected[40:]
    assert (batches.batch_size, batches.drop_last) == (128, False)


@pytest.mark.parametrize(
    ("batch_size", "documents_per_class", "message"),
    [
        (0, 1, "batch_size must be at least 1, got 0"),
        (8, 0, "documents_per_class must be from 1 to batch_size, 8, got 0"),
        (8, 9, "documents_per_class must be from 1 to batch_size, 8, got 9"),
    ],
)
def test_sizes_that_make_no_sense(batch_size: int, documents_per_class: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ClassAwareBatches([0, 1], batch_size, documents_per_class=documents_per_class)


def test_batches_of_one_document_and_no_documents() -> None:
    assert sorted(ClassAwareBatches([0, 1, -100], 1, documents_per_class=1)) == [[0], [1], [2]]
    assert list(ClassAwareBatches([], 4, documents_per_class=2)) == []


def test_a_hundred_thousand_documents_take_well_under_a_second() -> None:
    labels = np.random.default_rng(0).integers(0, 1000, 100_000).tolist()
    batches = ClassAwareBatches(labels, 128, documents_per_class=4)
    start = time.process_time()
    assert sum(map(len, batches)) == 100_000
    assert time.process_time() - start < 0.8


@settings(max_examples=200, deadline=None)
@given(
    sizes=st.lists(st.integers(1, 40), max_size=12),
    unlabelled=st.integers(0, 60),
    batch_size=st.integers(1, 40),
    data=st.data(),
)
def test_what_is_guaranteed_of_any_labels(
    sizes: list[int], unlabelled: int, batch_size: int, data: st.DataObject
) -> None:
    labels = labels_of(sizes, unlabelled)
    documents_per_class = data.draw(st.integers(1, batch_size))
    batches = list(sampler((labels, batch_size, documents_per_class)))
    assert sorted(row for batch in batches for row in batch) == list(range(len(labels)))
    assert len(batches) == -(-len(labels) // batch_size)
    assert all(max(len(labels) // len(batches) // 2, 1) <= len(batch) <= batch_size for batch in batches)

    if sum(sizes) >= 2 * len(batches):
        one_class = sum(len(classes_in(labels, batch)) < 2 for batch in batches)
        assert one_class == max(len(batches) - sum(sizes) + max(sizes, default=0), 0)


@pytest.mark.parametrize("documents", [1, 15, 33, 64])
@pytest.mark.parametrize("count", [2, 3, 8])
def test_processes_share_every_batch(documents: int, count: int) -> None:
    labels = [number % 3 for number in range(documents)]
    whole = ClassAwareBatches(labels, 16, documents_per_class=4, seed=1)
    shares = [
        SharedBatches(ClassAwareBatches(labels, 16, documents_per_class=4, seed=1), rank, count)
        for rank in range(count)
    ]
    for each in (whole, *shares):
        each.set_epoch(3)
    for batch, *parts in zip(whole, *shares, strict=True):
        assert [row for part in parts for row in part] == batch
        assert max(map(len, parts)) - min(map(len, parts)) <= 1
