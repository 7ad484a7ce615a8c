"""From texts to token ids."""

from collections.abc import Iterator

from datasets import Dataset
from transformers import BatchEncoding, DataCollatorWithPadding, PreTrainedTokenizerBase

from graphloss.data.documents import Documents


def encode(
    documents: Documents, tokenizer: PreTrainedTokenizerBase, max_length: int, labels: list[int] | None = None
) -> Dataset:
    """Tokenize documents, truncated to `max_length` tokens and not padded: a batch is padded to its own longest.

    Args:
        documents: n documents.
        tokenizer: of the encoder.
        max_length: in tokens, special ones included.
        labels: n positions of labels, -100 for none.

    Returns:
        A data set with n rows of input_ids, attention_mask, what else the tokenizer gives, and labels.
    """
    encoded = tokenizer(documents.texts, documents.text_pairs, truncation=True, max_length=max_length)
    columns = dict(encoded) | ({} if labels is None else {"labels": labels})
    return Dataset.from_dict(columns)


def batches_by_length(
    documents: Documents, tokenizer: PreTrainedTokenizerBase, max_length: int, batch_size: int
) -> Iterator[tuple[list[int], BatchEncoding]]:
    """Batches of documents of like length, so that little is padded; for inference, where the order is free.

    Yields:
        The row numbers of a batch, and its padded tensors.
    """
    rows = encode(documents, tokenizer, max_length).to_list()
    order = sorted(range(len(rows)), key=lambda row: len(rows[row]["input_ids"]))
    collate = DataCollatorWithPadding(tokenizer)
    for start in range(0, len(order), batch_size):
        chosen = order[start : start + batch_size]
        yield chosen, BatchEncoding(collate([rows[row] for row in chosen]))
