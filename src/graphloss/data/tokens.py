"""From texts to token ids."""

from datasets import Dataset
from transformers import PreTrainedTokenizerBase

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
