"""Wrong labels, found by all the others."""

from typing import NamedTuple

import numpy as np
import pytest
import torch

from graphloss.data.documents import Documents
from graphloss.inference import index as index_module
from graphloss.inference.audit import Audit, as_table, audit, find_duplicates, votes_against
from graphloss.inference.index import Index
from tests.inference.corpus import NAMES, corpus


class Flipped(NamedTuple):
    """An index with wrong labels.

    Attributes:
        index: of documents in three classes that lie well apart.
        truth: their true classes.
        rows: those with a wrong label, in order.
    """

    index: Index
    truth: np.ndarray
    rows: list[int]


def flipped(documents: int, share: float, *, seed: int = 0, words: bool = True) -> Flipped:
    given, generator = corpus(documents, spread=0.15, seed=seed), np.random.default_rng(seed)
    truth = np.array(given.labels)
    rows = np.sort(generator.permutation(documents)[: round(share * documents)])
    labels = truth.copy()
    labels[rows] = (truth[rows] + generator.integers(1, 3, len(rows))) % 3
    texts = given.documents if words else Documents([""] * documents)
    index, _ = Index.build(texts, labels.tolist(), NAMES, given.embeddings)
    return Flipped(index, truth, rows.tolist())


@pytest.mark.parametrize("words", [True, False])
@pytest.mark.parametrize("seed", range(4))
def test_wrong_labels_come_first_and_the_right_ones_are_suggested(seed: int, words: bool) -> None:
    given = flipped(150, 0.1, seed=seed, words=words)
    audited = audit(given.index)
    assert sorted(audited.order()[:15].tolist()) == given.rows
    assert np.array_equal(audited.suggested, given.truth)
    right = np.setdiff1d(np.arange(150), given.rows)
    assert audited.score[given.rows].min() > 0.5 > audited.score[right].max()
    for shares in (audited.score, audited.wrong):
        assert ((shares >= 0.0) & (shares <= 1.0)).all()
    assert audited.noise < 0.13


@pytest.mark.parametrize("seed", [0, 2])
def test_the_share_of_wrong_labels_is_estimated(seed: int) -> None:
    given = flipped(150, 0.1, seed=seed)
    audited = audit(given.index)
    assert audited.noise == pytest.approx(0.1, abs=0.02)
    assert audited.false_alarms(15) < 1.0
    assert audited.false_alarms(30) == pytest.approx(15.0, abs=1.5)
    assert audited.wrong[given.rows].min() > 0.5 > np.delete(audited.wrong, given.rows).max()


def test_without_wrong_labels_there_is_hardly_any_noise() -> None:
    audited = audit(flipped(150, 0.0).index)
    assert audited.noise < 0.01
    assert audited.wrong.max() < 0.1
    assert audited.false_alarms(10) > 9.0


def test_the_audit_is_the_same_in_tiles_and_when_repeated(monkeypatch: pytest.MonkeyPatch) -> None:
    given = flipped(90, 0.1)
    whole = audit(given.index)
    assert np.array_equal(whole.score, audit(given.index).score)
    monkeypatch.setattr(index_module, "TILE", 1000)
    tiled = audit(given.index)
    assert tiled.kernel == whole.kernel
    np.testing.assert_allclose(tiled.score, whole.score, atol=1e-4)


def test_a_class_of_one_document_is_audited() -> None:
    given = corpus(31, spread=0.15)
    index, _ = Index.build(given.documents, [*given.labels[:30], 3], [*NAMES, "single"], given.embeddings)
    audited = audit(index)
    assert np.isfinite(audited.score).all()
    assert np.isfinite(audited.wrong).all()
    assert audited.suggested.tolist() == given.labels
    assert audited.order()[0] == 30


def test_false_alarms_by_hand() -> None:
    score, wrong = np.array([0.1, 0.9, 0.9, 0.4]), np.array([0.0, 0.7, 0.9, 0.2])
    kernel = audit(flipped(30, 0.1).index).kernel
    audited = Audit(score, np.zeros(4, dtype=np.int64), wrong, noise=0.1, kernel=kernel)
    assert audited.order().tolist() == [1, 2, 3, 0]
    assert [audited.false_alarms(first) for first in (0, 1, 3, 9)] == pytest.approx([0.0, 0.3, 1.2, 2.2])


def test_only_documents_of_other_labels_vote_against() -> None:
    given = flipped(60, 0.1)
    kernel = audit(given.index).kernel
    against = votes_against(given.index, kernel)
    labels = given.index.labels.numpy()
    asked = against.shares > 0
    assert (labels[against.rows] != labels[:, None])[asked].all()
    assert (against.rows != np.arange(60)[:, None]).all(where=asked)
    assert (np.diff(against.shares, axis=1) <= 0).all()
    cosines = (given.index.embeddings @ given.index.embeddings.T).numpy()
    alike = np.minimum(cosines, (given.index.words @ given.index.words.T).toarray())
    expected = np.take_along_axis(alike, against.rows, axis=1)
    np.testing.assert_allclose(against.similarity[asked], expected[asked], atol=1e-6)
    assert (given.truth[against.rows[given.rows]] == given.truth[given.rows][:, None]).all()


def test_shares_of_votes_against_by_hand() -> None:
    """The first document is alike to the second and the third, of either label, and to the fourth by half."""
    points = torch.tensor([[1.0, 0.0], [1.0, 0.0], [1.0, 0.0], [0.5, 0.75**0.5]])
    index, _ = Index.build(Documents(["", "", "", ""]), [0, 0, 1, 1], NAMES, points)
    kernel = audit(flipped(30, 0.1).index).kernel._replace(bandwidth=0.5)
    against = votes_against(index, kernel)
    half = float(np.exp(-0.5 / 0.5**2))
    assert against.rows[0, :2].tolist() == [2, 3]
    assert against.shares[0].tolist() == pytest.approx([1 / (2 + half), half / (2 + half), 0.0])
    assert against.similarity[0, :2].tolist() == pytest.approx([1.0, 0.5])


def with_duplicates(*, words: bool = True) -> Index:
    """Thirty documents; 7 is 4 once more, with another label, and 9 is 0, with the same label."""
    given = corpus(30, spread=0.3)
    points, labels, texts = given.embeddings.clone(), list(given.labels), list(given.documents.texts)
    points[7], labels[7], texts[7] = 2.0 * points[4] + 1e-3, (labels[4] + 1) % 3, texts[4]
    points[9], labels[9], texts[9] = points[0], labels[0], texts[0]
    return Index.build(Documents(texts if words else [""] * 30), labels, NAMES, points)[0]


@pytest.mark.parametrize("words", [True, False])
def test_near_duplicates_with_another_label_conflict(words: bool) -> None:
    index = with_duplicates(words=words)
    against = votes_against(index, audit(index).kernel)
    conflicting = find_duplicates(against, index, {}).conflicting
    assert conflicting[4] == [7]
    assert conflicting[7][0] == 4
    assert not {0, 9} & conflicting.keys()
    if words:
        assert conflicting.keys() == {4, 7}


def test_texts_of_other_words_are_no_duplicates_however_alike_the_embeddings() -> None:
    index, _ = Index.build(Documents(["the comet", "a soup", "the goal"]), [0, 1, 2], NAMES, torch.ones(3, 4))
    against = votes_against(index, audit(flipped(30, 0.1).index).kernel)
    assert find_duplicates(against, index, {}).conflicting == {}


def test_the_same_text_in_other_splits_whatever_its_case_and_spaces() -> None:
    texts = ["The goal was  late", "a soup", "a moon", "the goal"]
    index, _ = Index.build(Documents(texts), [0, 1, 2, 0], NAMES, torch.eye(4))
    others = {
        "validation": Documents(["nothing", " the GOAL was\nlate "]),
        "test": Documents(["THE goal was late", "A Soup"]),
    }
    found = find_duplicates(votes_against(index, audit(flipped(30, 0.1).index).kernel), index, others)
    assert found.elsewhere == {0: ["validation:1", "test:0"], 1: ["test:1"]}
    assert found.conflicting == {}


@pytest.mark.parametrize("words", [True, False])
def test_the_table_lists_the_most_suspicious_first(words: bool) -> None:
    given = flipped(60, 0.1, words=words)
    audited = audit(given.index)
    against = votes_against(given.index, audited.kernel)
    in_file = np.arange(60) * 2 + 5
    table = as_table(audited, against, find_duplicates(against, given.index, {}), given.index, in_file)
    assert list(table)[:5] == ["row", "text", "label", "suggested", "score"]
    assert {len(column) for column in table.values()} == {60}
    assert table["score"] == sorted(table["score"], reverse=True)
    assert sorted(table["row"][:6]) == [in_file[row] for row in given.rows]
    labels = given.index.labels.tolist()
    for place, row in enumerate((np.array(table["row"]) - 5) // 2):
        assert table["text"][place] == given.index.documents.texts[row]
        assert (table["label"][place], table["suggested"][place]) == (NAMES[labels[row]], NAMES[given.truth[row]])
    assert all(voters.count("(") == 3 for voters in table["against"][:6])
    assert all(f"({name}," not in voters for name, voters in zip(table["label"], table["against"], strict=True))


def test_duplicates_stand_in_the_table() -> None:
    index = with_duplicates()
    audited = audit(index)
    against = votes_against(index, audited.kernel)
    duplicates = find_duplicates(against, index, {"test": Documents([index.documents.texts[11]])})
    table = as_table(audited, against, duplicates, index, np.arange(100, 130))
    by_row = {row: place for place, row in enumerate(table["row"])}
    assert table["conflicting_duplicates"][by_row[104]] == "107"
    assert table["conflicting_duplicates"][by_row[107]] == "104"
    assert table["also_in"][by_row[111]] == "test:0"
    assert [row for row, place in by_row.items() if table["also_in"][place]] == [111]


def test_a_large_index_is_audited_by_its_nearest_documents(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("faiss")
    given = flipped(150, 0.1)
    monkeypatch.setattr(index_module, "EXACT", 0)
    monkeypatch.setattr(index_module, "NEAREST", 20)
    audited = audit(given.index)
    assert sorted(audited.order()[:15].tolist()) == given.rows
    assert np.array_equal(audited.suggested, given.truth)
    against = votes_against(given.index, audited.kernel)
    labels = given.index.labels.numpy()
    assert (labels[against.rows] != labels[:, None])[against.shares > 0].all()


def test_duplicates_of_one_label_do_not_conflict() -> None:
    given = corpus(20)
    documents = Documents(given.documents.texts * 2)
    index, _ = Index.build(documents, given.labels * 2, NAMES, torch.cat([given.embeddings] * 2))
    found = find_duplicates(votes_against(index, audit(index).kernel), index, {})
    for row, others in found.conflicting.items():
        assert (index.labels[others] != index.labels[row]).all()


def test_documents_that_are_all_the_same_and_classes_without_any_are_judged() -> None:
    index, _ = Index.build(Documents(["a b"] * 16), [0] * 12 + [1] * 4, ["x", "y", "unused"], torch.ones(16, 4))
    judged = audit(index)
    assert np.isfinite(judged.score).all()
    assert set(judged.suggested.tolist()) <= {0, 1}
