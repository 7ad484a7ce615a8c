"""The training documents of a run, kept for comparison."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from graphloss.data.documents import Documents
from graphloss.errors import InputError
from graphloss.inference import index as index_module
from graphloss.inference.index import Index, Similarities
from graphloss.inference.index_files import fingerprint, load_index, save_index
from tests.inference.corpus import NAMES, Corpus, corpus

ENCODER = "a fingerprint"


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    """The folder of an index of thirty documents."""
    save_index(corpus(30).index(), tmp_path / "run" / "index", ENCODER)
    return tmp_path / "run" / "index"


def edit(folder: Path, **changes: Any) -> None:
    header = json.loads((folder / "index.json").read_text())
    (folder / "index.json").write_text(json.dumps(header | changes))


def with_pairs(given: Corpus, pairs: list[str]) -> Corpus:
    return given._replace(documents=dataclasses.replace(given.documents, text_pairs=pairs))


def test_documents_with_a_label_are_kept_at_unit_length() -> None:
    given = corpus(9)
    labels = [label if row % 4 else -100 for row, label in enumerate(given.labels)]
    index, rows = Index.build(given.documents, labels, NAMES, given.embeddings)
    assert rows.tolist() == [1, 2, 3, 5, 6, 7]
    assert len(index) == 6
    assert index.labels.tolist() == [given.labels[row] for row in rows.tolist()]
    assert index.documents.texts == [given.documents.texts[row] for row in rows.tolist()]
    torch.testing.assert_close(index.embeddings, torch.nn.functional.normalize(given.embeddings[rows]))
    np.testing.assert_allclose(np.linalg.norm(index.words.toarray(), axis=1), 1.0, atol=1e-6)


@pytest.mark.parametrize(("most", "kept"), [(0, 30), (7, 7), (30, 30), (99, 30)])
def test_so_many_documents_are_kept(most: int, kept: int) -> None:
    given = corpus(30)
    index, rows = Index.build(given.documents, given.labels, NAMES, given.embeddings, most=most)
    assert len(index) == len(rows) == len(index.documents) == len(index.embeddings) == index.words.shape[0] == kept
    assert rows.tolist() == sorted(set(rows.tolist()))
    assert index.labels.tolist() == [given.labels[row] for row in rows.tolist()]


def test_the_seed_draws_the_documents_that_are_kept() -> None:
    given = corpus(30)
    drawn = [
        Index.build(given.documents, given.labels, NAMES, given.embeddings, most=7, seed=seed)[1].tolist()
        for seed in (0, 0, 1)
    ]
    assert drawn[0] == drawn[1] != drawn[2]


def test_documents_without_a_label_are_kept_where_something_is_thought_of_them() -> None:
    given = corpus(6)
    labels = [-100, 1, 2, -100, 1, 2]
    opinions = torch.tensor([[0.7, 0.2, 0.1]]).repeat(6, 1)
    index, rows = Index.build(given.documents, labels, NAMES, given.embeddings, opinions=opinions.double())
    assert rows.tolist() == [*range(6)]
    assert index.labels.tolist() == labels
    assert index.labelled.tolist() == [1, 2, 4, 5]
    told = [[0.7, 0.2, 0.1], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]]
    torch.testing.assert_close(index.targets, torch.tensor(told * 2)[[0, 1, 2, 0, 1, 2]])


@pytest.mark.parametrize(("most", "unlabelled"), [(10, 0), (20, 0), (24, 4), (0, 10)])
def test_labelled_documents_are_kept_before_others(most: int, unlabelled: int) -> None:
    given = corpus(30)
    labels = [-100 if row % 3 == 0 else label for row, label in enumerate(given.labels)]
    opinions = torch.full((30, 3), 1.0 / 3.0)
    index, rows = Index.build(given.documents, labels, NAMES, given.embeddings, opinions=opinions, most=most)
    assert len(index) == (most or 30)
    assert int((index.labels < 0).sum()) == unlabelled
    assert rows.tolist() == sorted(set(rows.tolist()))


def test_similarities_are_cosines() -> None:
    given, new = corpus(12), corpus(5, seed=1)
    index = given.index()
    views = index.views(new.documents, 7.0 * new.embeddings)
    cosines = torch.nn.functional.cosine_similarity(new.embeddings[:, None], given.embeddings, dim=2)
    torch.testing.assert_close(index.by_embedding(views).values, cosines)
    words = index.vectors.transform(new.documents).toarray() @ index.vectors.transform(given.documents).toarray().T
    np.testing.assert_allclose(index.by_words(views).values.numpy(), words, atol=1e-6)
    assert index.by_embedding(views).documents is None


def test_a_document_without_a_known_term_is_like_none() -> None:
    index = corpus(12).index()
    views = index.views(Documents(["the comet", "nothing known", ""]), torch.ones(3, 8))
    values = index.by_words(views).values
    assert values[0].isfinite().all()
    assert (values[1:] == -torch.inf).all()


def test_documents_without_any_word_are_like_none() -> None:
    index, _ = Index.build(Documents(["", "?", "!"]), [0, 1, 2], NAMES, torch.eye(3))
    assert (index.by_words(index.views(Documents(["the comet"]), torch.ones(1, 3))).values == -torch.inf).all()


def test_terms_of_pairs_count() -> None:
    index = with_pairs(corpus(3), ["alpha", "beta", "gamma"]).index()
    assert {"alpha", "beta", "gamma"} <= set(index.vectors.terms)
    views = index.views(Documents(["unknown"], text_pairs=["beta"]), torch.ones(1, 8))
    assert int(index.by_words(views).values[0].argmax()) == 1


@pytest.mark.parametrize("pairs", [False, True])
def test_an_index_that_was_read_back_is_the_same(pairs: bool, tmp_path: Path) -> None:
    given, new = corpus(30), corpus(6, seed=1)
    if pairs:
        given, new = with_pairs(given, ["the soup"] * 15 + ["a star"] * 15), with_pairs(new, ["salt"] * 6)
    built = given.index()
    save_index(built, tmp_path / "index", ENCODER)
    read = load_index(tmp_path / "index", ENCODER)
    assert (read.names, len(read), read.labels.tolist()) == (built.names, 30, given.labels)
    assert (read.documents.texts, read.documents.text_pairs) == (given.documents.texts, given.documents.text_pairs)
    assert read.vectors.terms == built.vectors.terms
    ours, theirs = (index.views(new.documents, new.embeddings) for index in (built, read))
    assert torch.equal(ours.embeddings, theirs.embeddings)
    assert (ours.words != theirs.words).nnz == 0
    assert torch.equal(built.by_embedding(ours).values, read.by_embedding(theirs).values)
    assert torch.equal(built.by_words(ours).values, read.by_words(theirs).values)


def test_what_documents_tell_is_read_back(tmp_path: Path) -> None:
    given = corpus(4)
    opinions = torch.tensor([[0.7, 0.2, 0.1]]).repeat(4, 1)
    index, _ = Index.build(given.documents, [0, -100, 2, -100], NAMES, given.embeddings, opinions=opinions)
    save_index(index, tmp_path / "index", ENCODER)
    read = load_index(tmp_path / "index", ENCODER)
    assert torch.equal(read.targets, index.targets)
    assert read.labels.tolist() == [0, -100, 2, -100]


def test_an_index_of_documents_without_words_is_read_back(tmp_path: Path) -> None:
    index, _ = Index.build(Documents(["", "?", "!"]), [0, 1, 2], NAMES, torch.eye(3))
    save_index(index, tmp_path / "index", ENCODER)
    read = load_index(tmp_path / "index", ENCODER)
    assert (read.vectors.terms, read.words.shape) == ([], (3, 0))


def test_an_index_is_replaced_whole(saved: Path) -> None:
    (saved / "of_before.txt").write_text("gone")
    save_index(corpus(12).index(), saved, ENCODER)
    assert len(load_index(saved, ENCODER)) == 12
    assert not (saved / "of_before.txt").exists()
    assert [path.name for path in saved.parent.iterdir()] == ["index"]


def test_a_run_without_an_index(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="keeps no index of its training documents; train it with --index yes"):
        load_index(tmp_path / "run" / "index", ENCODER)


def test_an_index_of_another_encoder(saved: Path) -> None:
    with pytest.raises(InputError, match=r"made with another encoder .* train the run again"):
        load_index(saved, "another fingerprint")


def test_an_index_of_another_format(saved: Path) -> None:
    edit(saved, format=99)
    with pytest.raises(InputError, match="an index of format 99, this version reads 1; train the run again"):
        load_index(saved, ENCODER)


def test_an_index_larger_than_the_memory(saved: Path) -> None:
    edit(saved, bytes=10**15, documents=10**9)
    with pytest.raises(InputError, match=r"1,000,000,000 documents and takes 2000000\.0 GB") as refused:
        load_index(saved, ENCODER)
    advised = int(str(refused.value).split("--index_size ")[1].split()[0])
    assert 0 < advised < 10**9


@pytest.mark.parametrize("wrong", [float("nan"), float("inf")])
def test_embeddings_that_are_not_finite(wrong: float) -> None:
    given = corpus(12)
    index = given.index()
    given.embeddings[[2, 5, 7], 1] = wrong
    with pytest.raises(InputError, match="3 of 12 rows are not"):
        given.index()
    with pytest.raises(InputError, match="3 of 12 rows are not"):
        index.views(given.documents, given.embeddings)


def test_an_embedding_of_length_zero_is_like_none_and_no_error() -> None:
    given = corpus(12)
    given.embeddings[3] = 0.0
    index = given.index()
    assert (index.by_embedding(index.views(given.documents, given.embeddings)).values[3] == 0.0).all()


@pytest.mark.parametrize("size", [0, 1, 7, 20])
def test_tiles_cover_all_documents_once(size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    index = corpus(12).index()
    monkeypatch.setattr(index_module, "TILE", 40)
    tiles = list(index.tiles(size))
    assert [row for tile in tiles for row in range(size)[tile]] == list(range(size))
    assert all(tile.stop - tile.start <= 3 for tile in tiles)


def test_fingerprints_tell_weights_apart(encoders: dict[str, Path], tmp_path: Path) -> None:
    assert fingerprint(encoders["bert"]) == fingerprint(encoders["bert"]) != fingerprint(encoders["distilbert"])
    (tmp_path / "model.safetensors").write_bytes((encoders["bert"] / "model.safetensors").read_bytes())
    assert fingerprint(tmp_path) == fingerprint(encoders["bert"])


def nearest(similarities: Similarities, row: int) -> dict[int, float]:
    """The documents that were found for a row, and their similarities."""
    values = similarities.values[row]
    found = torch.nonzero(values > -torch.inf)[:, 0]
    documents: Tensor = found if similarities.documents is None else similarities.documents[row, found]
    return dict(zip(documents.tolist(), values[found].tolist(), strict=True))


@pytest.fixture
def approximate(monkeypatch: pytest.MonkeyPatch) -> int:
    """Lets an index of any size look for its nearest documents only; gives how many."""
    pytest.importorskip("faiss")
    monkeypatch.setattr(index_module, "EXACT", 0)
    monkeypatch.setattr(index_module, "NEAREST", 20)
    return 20


def test_the_nearest_embeddings_are_those_of_the_exact_search(approximate: int) -> None:
    given, new = corpus(300), corpus(30, seed=1)
    index = given.index()
    views = index.views(new.documents, new.embeddings)
    exact = views.embeddings @ index.embeddings.T
    index.nearest.nprobe = index.nearest.nlist
    found = index.by_embedding(views)
    best = exact.topk(approximate, dim=1)
    torch.testing.assert_close(found.values, best.values)
    assert torch.equal(found.documents, best.indices)


def test_looking_into_few_cells_finds_most_of_the_nearest(approximate: int) -> None:
    given, new = corpus(600), corpus(50, seed=1)
    index = given.index()
    views = index.views(new.documents, new.embeddings)
    exact = (views.embeddings @ index.embeddings.T).topk(approximate, dim=1).indices
    assert index.nearest.nprobe < index.nearest.nlist / 4
    found = index.by_embedding(views)
    shared = [len(set(exact[row].tolist()) & nearest(found, row).keys()) for row in range(50)]
    assert np.mean(shared) > 0.7 * approximate
    for row in range(50):
        for document, value in nearest(found, row).items():
            assert value == pytest.approx(float(views.embeddings[row] @ index.embeddings[document]), abs=1e-5)


def test_where_fewer_are_found_than_wanted_the_others_are_not_asked(approximate: int) -> None:
    given = corpus(18)
    index = given.index()
    views = index.views(given.documents, given.embeddings)
    for found in (index.by_embedding(views), index.by_words(views)):
        assert found.values.shape == (18, approximate)
        for row in range(18):
            assert row in nearest(found, row)
            assert len(nearest(found, row)) == int((found.values[row] > -torch.inf).sum()) <= 18


def test_the_nearest_by_words_are_those_of_the_exact_search(approximate: int, monkeypatch: pytest.MonkeyPatch) -> None:
    given, new = corpus(60), corpus(8, seed=1)
    new.documents.texts[3] = "nothing known"
    index = given.index()
    views = index.views(new.documents, new.embeddings)
    found = index.by_words(views)
    monkeypatch.setattr(index_module, "EXACT", 1000)
    exact = index.by_words(views).values
    assert nearest(found, 3) == {}
    for row in (0, 1, 2, 4, 5, 6, 7):
        similar = nearest(found, row)
        assert len(similar) == min(approximate, int((exact[row] > 0).sum()))
        assert sorted(similar.values(), reverse=True) == pytest.approx(exact[row].topk(len(similar)).values.tolist())
        for document, value in similar.items():
            assert value == pytest.approx(float(exact[row, document]))


def test_what_finds_the_nearest_is_saved_with_the_index(approximate: int, tmp_path: Path) -> None:
    given, new = corpus(300), corpus(30, seed=1)
    index = given.index()
    expected = index.by_embedding(index.views(new.documents, new.embeddings))
    save_index(index, tmp_path / "index", "encoder")
    assert (tmp_path / "index" / "nearest.faiss").exists()
    loaded = load_index(tmp_path / "index", "encoder")
    found = loaded.by_embedding(loaded.views(new.documents, new.embeddings))
    assert torch.equal(found.documents, expected.documents)
    assert loaded.nearest.nprobe == index.nearest.nprobe
    assert loaded.take(torch.arange(5)).folder is None
