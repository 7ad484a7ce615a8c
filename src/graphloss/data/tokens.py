"""From texts to token ids."""

import pyarrow
from datasets import Dataset
from transformers import PreTrainedTokenizerBase

from graphloss.data.documents import Documents
from graphloss.data.token_cache import TokenCache


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
