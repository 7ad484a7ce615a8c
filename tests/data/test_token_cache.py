"""Token ids are made once, and made again where what was kept is of no use."""

from pathlib import Path

import pytest

from graphloss.data.documents import Documents
from graphloss.data.token_cache import TokenCache, usual_cache_folder
from graphloss.data.tokens import encode
from graphloss.models.encoder import load_encoder
from tests.conftest import sentences

DOCUMENTS = Documents(sentences(40)[0])


@pytest.fixture
def notes() -> list[str]:
    return []


@pytest.fixture
def cache(tmp_path: Path, encoders: dict[str, Path], notes: list[str]) -> TokenCache:
    return TokenCache(tmp_path / "cache", load_encoder(str(encoders["bert"])).tokenizer, notes.append)


def tokenize(folder: Path, cache: TokenCache | None, documents: Documents = DOCUMENTS, max_length: int = 16) -> dict:
    return encode(documents, load_encoder(str(folder)).tokenizer, max_length, cache=cache).to_dict()


def test_what_is_kept_is_what_was_made(encoders: dict[str, Path], cache: TokenCache, notes: list[str]) -> None:
    fresh = tokenize(encoders["bert"], None)
    assert tokenize(encoders["bert"], cache) == fresh
    (entry,) = cache.folder.iterdir()
    before = entry.stat().st_ino
    assert tokenize(encoders["bert"], cache) == fresh
    assert entry.stat().st_ino == before  # read, not written again
    assert notes == []


def test_labels_come_beside_the_cache(encoders: dict[str, Path], cache: TokenCache) -> None:
    tokenizer = load_encoder(str(encoders["bert"])).tokenizer
    for labels in ([0] * 40, [1, -100] * 20):
        assert encode(DOCUMENTS, tokenizer, 16, labels, cache)["labels"][:] == labels


def test_the_key_is_of_texts_tokenizer_and_length(encoders: dict[str, Path], tmp_path: Path) -> None:
    bert, llama = (
        TokenCache(tmp_path, load_encoder(str(encoders[name])).tokenizer, pytest.fail) for name in ("bert", "llama")
    )
    texts = DOCUMENTS.texts
    keys = [
        bert.key(DOCUMENTS, 16),
        bert.key(DOCUMENTS, 17),
        llama.key(DOCUMENTS, 16),
        bert.key(Documents(texts[1:]), 16),
        bert.key(Documents(["".join(texts[:2]), "", *texts[2:]]), 16),
        bert.key(Documents(texts, text_pairs=texts), 16),
        bert.key(Documents([*texts, *texts]), 16),
    ]
    assert len(set(keys)) == len(keys)
    used = load_encoder(str(encoders["bert"])).tokenizer
    used(["a b c"], truncation=True, max_length=3, padding="max_length")  # leaves its settings in the tokenizer
    assert TokenCache(tmp_path, used, pytest.fail).key(DOCUMENTS, 16) == keys[0]
    used.add_tokens(["comets"])
    assert TokenCache(tmp_path, used, pytest.fail).key(DOCUMENTS, 16) != keys[0]


@pytest.mark.parametrize("damage", ["cut", "flipped", "rubbish", "fewer rows"])
def test_a_broken_entry_is_made_again(
    damage: str, encoders: dict[str, Path], cache: TokenCache, notes: list[str]
) -> None:
    fresh = tokenize(encoders["bert"], cache)
    (entry,) = cache.folder.iterdir()
    content = bytearray(entry.read_bytes())
    if damage == "flipped":
        content[20] ^= 0xFF
    if damage == "fewer rows":
        tokenize(encoders["bert"], cache, Documents(DOCUMENTS.texts[:3]))
        (other,) = set(cache.folder.iterdir()) - {entry}
        content = bytearray(other.read_bytes())
    entry.write_bytes({"cut": content[: len(content) // 2], "rubbish": b"no table"}.get(damage, bytes(content)))
    assert tokenize(encoders["bert"], cache) == fresh
    assert len(notes) == 1
    assert "is broken; tokenizing again" in notes[0]
    notes.clear()
    assert tokenize(encoders["bert"], cache) == fresh
    assert notes == []


def test_a_folder_that_cannot_be_written_is_done_without(
    encoders: dict[str, Path], tmp_path: Path, notes: list[str]
) -> None:
    (tmp_path / "file").write_text("")
    cache = TokenCache(tmp_path / "file" / "below", load_encoder(str(encoders["bert"])).tokenizer, notes.append)
    assert tokenize(encoders["bert"], cache) == tokenize(encoders["bert"], None)
    assert len(notes) == 1
    assert "cannot be written" in notes[0]


def test_the_entries_used_last_stay(
    encoders: dict[str, Path], cache: TokenCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("graphloss.data.token_cache.LARGEST", 6_000)
    for length in range(4, 14):
        tokenize(encoders["bert"], cache, max_length=length)
    sizes = [path.stat().st_size for path in cache.folder.iterdir()]
    assert sum(sizes) <= 6_000
    assert len(sizes) >= 2


def test_the_usual_folder_is_named_by_variables(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("GRAPHLOSS_CACHE", str(tmp_path))
    assert usual_cache_folder() == tmp_path
    monkeypatch.delenv("GRAPHLOSS_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert usual_cache_folder() == tmp_path / "graphloss"
