"""From texts to token ids."""

import numpy as np
import pyarrow
from datasets import Dataset
from jaxtyping import Int
from transformers import PreTrainedTokenizerBase

from graphloss.data.documents import Documents
from graphloss.data.token_cache import TokenCache
from graphloss.errors import InputError


def encode(
    documents: Documents,
    tokenizer: PreTrainedTokenizerBase,
    max_length: int,
    labels: list[int] | None = None,
    cache: TokenCache | None = None,
) -> Dataset:
    """Tokenize documents, truncated to `max_length` tokens and not padded: a batch is padded to its own longest.

    Args:
        documents: n documents.
        tokenizer: of the encoder.
        max_length: in tokens, special ones included.
        labels: n positions of labels, -100 for none.
        cache: where token ids of this tokenizer are kept; None to tokenize anew.

    Returns:
        A data set with n rows of input_ids, attention_mask, what else the tokenizer gives, and labels.
    """
    table = None
    if cache is not None:
        key = cache.key(documents, max_length)
        table = cache.read(key, rows=len(documents))
    if table is None:
        encoded = tokenizer(documents.texts, documents.text_pairs, truncation=True, max_length=max_length)
        table = pyarrow.table(dict(encoded))
        if cache is not None:
            cache.write(key, table)
    if labels is not None:
        table = table.append_column("labels", pyarrow.array(labels, pyarrow.int64()))
    return Dataset(table)


def encode_windows(
    documents: Documents, tokenizer: PreTrainedTokenizerBase, max_length: int, stride: int
) -> tuple[Dataset, Int[np.ndarray, " windows"]]:
    """Tokenize documents whole: a long one as several windows.

    Args:
        documents: n documents, without pairs.
        tokenizer: of the encoder.
        max_length: of a window in tokens, special ones included.
        stride: tokens that a window shares with the one before it.

    Returns:
        As `encode`, with a row for each window; and the row number of the document that each belongs to, ascending.

    Raises:
        InputError: for pairs of texts, and for a stride that leaves a window nothing of its own.
    """
    if documents.text_pairs is not None:
        raise InputError("--stride takes single texts, not pairs; leave it out")
    room = max_length - tokenizer.num_special_tokens_to_add()
    if not 0 <= stride < room:
        raise InputError(f"--stride must lie between 0 and {room - 1}, for windows hold {room} tokens; got {stride}")
    encoded = tokenizer(
        documents.texts, truncation=True, max_length=max_length, stride=stride, return_overflowing_tokens=True
    )
    owners = np.asarray(encoded.pop("overflow_to_sample_mapping"), dtype=np.int64)
    return Dataset(pyarrow.table(dict(encoded))), owners


def cut_off(documents: Documents, tokenizer: PreTrainedTokenizerBase, tokens: Dataset, max_length: int) -> int:
    """How many documents lost text when they were tokenized.

    Args:
        documents: n documents.
        tokenizer: of the encoder.
        tokens: as `encode` made them, n rows.
        max_length: that they were cut at.
    """
    full = [row for row, ids in enumerate(tokens["input_ids"]) if len(ids) == max_length]
    if not full:
        return 0
    longest = documents.take(full)
    encoded = tokenizer(longest.texts, longest.text_pairs, truncation=True, max_length=max_length + 1)
    return sum(len(ids) > max_length for ids in encoded["input_ids"])
