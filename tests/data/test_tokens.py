"""Long documents: in windows, or cut and counted."""

from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import PreTrainedTokenizerBase

from graphloss.data.documents import Documents
from graphloss.data.tokens import cut_off, encode, encode_windows
from graphloss.errors import InputError
from graphloss.models.encoder import load_encoder
from tests.conftest import FILLER

CLASSIFY, SEPARATE = 2, 3  # before and after the tokens of a text


@pytest.fixture(scope="module")
def tokenizer(encoders: dict[str, Path]) -> PreTrainedTokenizerBase:
    return load_encoder(str(encoders["bert"])).tokenizer


def texts_of(lengths: list[int]) -> Documents:
    """Texts of so many words, each of them a token; neighbours differ."""
    return Documents([" ".join(FILLER[place % len(FILLER)] for place in range(length)) for length in lengths])


def ids_of(text: str, tokenizer: PreTrainedTokenizerBase) -> list[int]:
    return tokenizer(text, add_special_tokens=False)["input_ids"]


def plain_windows(ids: list[int], room: int, stride: int) -> list[list[int]]:
    """By sliding a window until it covers the last token."""
    start, windows = 0, [ids[:room]]
    while start + room < len(ids):
        start += room - stride
        windows.append(ids[start : start + room])
    return windows


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 30), min_size=1, max_size=5), st.integers(3, 12), st.data())
def test_windows_are_those_of_sliding_over_the_text(
    tokenizer: PreTrainedTokenizerBase, lengths: list[int], max_length: int, data: st.DataObject
) -> None:
    stride = data.draw(st.integers(0, max_length - 3))
    documents = texts_of(lengths)
    windows, owners = encode_windows(documents, tokenizer, max_length, stride)
    expected = [
        (row, [CLASSIFY, *window, SEPARATE])
        for row, text in enumerate(documents.texts)
        for window in plain_windows(ids_of(text, tokenizer), max_length - 2, stride)
    ]
    assert list(zip(owners.tolist(), windows["input_ids"], strict=True)) == expected
    assert [len(mask) for mask in windows["attention_mask"]] == [len(ids) for ids in windows["input_ids"]]


def test_neighbouring_windows_share_so_many_tokens(tokenizer: PreTrainedTokenizerBase) -> None:
    documents = texts_of([20])
    windows, owners = encode_windows(documents, tokenizer, max_length=8, stride=2)
    inner = [ids[1:-1] for ids in windows["input_ids"]]
    assert owners.tolist() == [0] * len(inner)
    covered = list(inner[0])
    for before, after in pairwise(inner):
        assert before[-2:] == after[:2]
        covered += after[2:]
    assert covered == ids_of(documents.texts[0], tokenizer)


def test_short_documents_have_one_window_as_encoded_whole(tokenizer: PreTrainedTokenizerBase) -> None:
    documents = texts_of([3, 6, 0])
    windows, owners = encode_windows(documents, tokenizer, max_length=8, stride=2)
    assert owners.tolist() == [0, 1, 2]
    assert list(windows["input_ids"]) == list(encode(documents, tokenizer, 8)["input_ids"])


def test_windows_take_no_pairs(tokenizer: PreTrainedTokenizerBase) -> None:
    with pytest.raises(InputError, match="takes single texts, not pairs; leave it out"):
        encode_windows(Documents(["the"], text_pairs=["a"]), tokenizer, max_length=8, stride=2)


@pytest.mark.parametrize("stride", [-1, 6, 7])
def test_a_stride_that_leaves_a_window_nothing_of_its_own(stride: int, tokenizer: PreTrainedTokenizerBase) -> None:
    with pytest.raises(InputError, match=f"between 0 and 5, for windows hold 6 tokens; got {stride}"):
        encode_windows(texts_of([20]), tokenizer, max_length=8, stride=stride)
    assert len(encode_windows(texts_of([20]), tokenizer, max_length=8, stride=5)[1]) == 15


@pytest.mark.parametrize(
    ("lengths", "lost"), [([6], 0), ([7], 1), ([1, 6, 7, 30, 0], 2), ([5, 5], 0), ([], 0), ([9, 9, 9], 3)]
)
def test_documents_that_lost_tokens_are_counted(
    lengths: list[int], lost: int, tokenizer: PreTrainedTokenizerBase
) -> None:
    """Eight tokens hold six words: a text of six is just whole."""
    documents = texts_of(lengths) if lengths else Documents([])
    tokens = encode(documents, tokenizer, 8) if lengths else encode(texts_of([1]), tokenizer, 8).select([])
    assert cut_off(documents, tokenizer, tokens, 8) == lost


def test_pairs_that_lost_tokens_are_counted(tokenizer: PreTrainedTokenizerBase) -> None:
    """Nine tokens hold six words of both texts."""
    documents = Documents(
        ["the a", "the a was on", "the", "the a was on"], text_pairs=["of in very on", "of in", "of", "of in very"]
    )
    assert cut_off(documents, tokenizer, encode(documents, tokenizer, 9), 9) == 1
