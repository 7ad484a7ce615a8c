"""Logits and embeddings of many documents, without gradient."""

from collections.abc import Iterator
from typing import NamedTuple

import torch
from datasets import Dataset
from jaxtyping import Float, Int
from torch import Tensor, nn
from transformers import BatchEncoding, PreTrainedTokenizerBase

from graphloss.models.parts import budget_of, parts_by_length
from graphloss.models.pooling import HiddenStates, pool


class Answers(NamedTuple):
    """What a classifier says of n documents.

    Attributes:
        logits: (n, C) float32, on the CPU.
        embeddings: (n, d) float32, on the CPU, pooled and not normalized.
    """

    logits: Float[Tensor, "n C"]
    embeddings: Float[Tensor, "n d"]


def answer(
    model: nn.Module,
    tokens: Dataset,
    tokenizer: PreTrainedTokenizerBase,
    *,
    pooling: str,
    most: int | None = None,
    shared_weights: bool = False,
) -> Answers:
    """Run documents through a classifier in parts of like length; rows come back in their order.

    Args:
        model: a classifier over a `base_model`, on its device; left in evaluation mode.
        tokens: n rows with input_ids and what else the model reads, labels apart.
        tokenizer: of the encoder, for padding.
        pooling: "first", "mean" or "last".
        most: documents in a part; None for as many as the device likes.
        shared_weights: each process holds a part of the weights, and training uses what they are collected into, too.

    Where autocast is on it is heeded.

    Raises:
        ValueError: for no documents.
    """
    with torch.no_grad() if shared_weights else torch.inference_mode():
        return _answer(model, tokens, tokenizer, pooling, most)


def _answer(
    model: nn.Module, tokens: Dataset, tokenizer: PreTrainedTokenizerBase, pooling: str, most: int | None
) -> Answers:
    model.eval()
    device = next(model.parameters()).device
    logits, embeddings = None, None
    hidden_states = HiddenStates(model)
    for rows, batch in batches_by_length(tokens, tokenizer, device, most):
        given = model(**batch).logits.float().cpu()
        pooled = pool(hidden_states.take(), batch["attention_mask"], pooling).float().cpu()
        if logits is None or embeddings is None:
            logits = given.new_empty(len(tokens), given.shape[1])
            embeddings = pooled.new_empty(len(tokens), pooled.shape[1])
        logits[rows], embeddings[rows] = given, pooled
    hidden_states.remove()
    if logits is None or embeddings is None:
        raise ValueError("there are no documents to answer for")
    return Answers(logits, embeddings)


def batches_by_length(
    tokens: Dataset, tokenizer: PreTrainedTokenizerBase, device: torch.device, most: int | None = None
) -> Iterator[tuple[Int[Tensor, " rows"], BatchEncoding]]:
    """Documents in parts of like length, so that little is padded; for inference, where the order is free.

    Yields:
        The row numbers of a part, and its padded tensors on the device.
    """
    tokens = tokens.remove_columns([name for name in ("labels",) if name in tokens.column_names])
    lengths = torch.tensor([len(row) for row in tokens["input_ids"]], dtype=torch.int64)
    for rows in parts_by_length(lengths, budget_of(device), most):
        yield rows, tokenizer.pad(tokens[rows.tolist()], return_tensors="pt").to(device)
