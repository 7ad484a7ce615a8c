from collections import Counter

import pytest

from graphloss.data import docstrings
from graphloss.data.docstrings import docstring_splits


@pytest.fixture(scope="module")
def splits() -> docstrings.Splits:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(docstrings, "CANDIDATES", 10)  # fewer files to read
        return docstring_splits(classes=8, training=8, validation=4, test=4)


def test_balanced_disjoint_splits_of_real_texts(splits: docstrings.Splits) -> None:
    assert splits.test is not None
    parts = {"train": (splits.train, 8), "validation": (splits.validation, 4), "test": (splits.test, 4)}
    seen: set[str] = set()
    for documents, each in parts.values():
        counts = Counter(documents.labels)
        assert len(counts) == 8
        assert set(counts.values()) == {each}
        assert seen.isdisjoint(documents.texts)
        seen.update(documents.texts)


def test_no_text_names_a_package(splits: docstrings.Splits) -> None:
    names = set(splits.train.labels or [])
    for text in splits.train.texts:
        words = {word.strip("._`'\"(),:") for word in text.split()}
        assert names.isdisjoint(words)


def test_sources_are_read_and_never_imported(tmp_path: docstrings.Path) -> None:
    (tmp_path / "boom.py").write_text(f'"""Words about {"boom " * 30} and so on."""\nraise SystemExit\n')
    texts = list(docstrings._docstrings(tmp_path / "boom.py", "boom"))
    assert len(texts) <= 1
    assert not any("boom" in text for text in texts)
    (tmp_path / "broken.py").write_text("def (:\n")
    assert list(docstrings._docstrings(tmp_path / "broken.py", "broken")) == []
