"""A batch embedded in parts of like length, so that short documents are not padded to the longest of the batch."""

from collections.abc import Iterator

import torch
from jaxtyping import Int
from torch import Tensor


def split_by_length(inputs: dict[str, Tensor], parts: int) -> Iterator[tuple[Int[Tensor, " n"], dict[str, Tensor]]]:
    """Split a padded batch into parts with about as many tokens each, sorted by length, each cut to its longest.

    All documents stay in one batch: the graph spans them whatever the parts. Without dropout, logits, embeddings and
    gradients are those of one pass.

    Args:
        inputs: (B, T) tensors of the model, with an attention_mask; padding on either side.
        parts: the number of parts wanted.

    Yields:
        (n,) row numbers of a part, and its (n, T') tensors.
    """
    mask = inputs["attention_mask"].bool()
    lengths = mask.sum(dim=1)
    order = lengths.argsort()
    shares = lengths[order].cumsum(0) / lengths.sum()
    sizes = torch.bincount((shares * parts).ceil().long().clamp(1, parts) - 1, minlength=parts)
    for rows in order.split(sizes.tolist()):
        if len(rows):
            columns = mask[rows].any(dim=0)
            yield rows, {name: tensor[rows][:, columns] for name, tensor in inputs.items()}
