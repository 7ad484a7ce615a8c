"""A batch through the encoder in parts, with the activations of as many documents in memory as fit.

All documents stay in one batch: the graph spans them whatever the parts. What does not fit is computed again in the
backward pass, with the same dropout and under the same autocast (gradient caching; Gao et al., 2021, "Scaling Deep
Contrastive Learning Batch Size under Memory Limited Setup", here by `torch.utils.checkpoint` around each part), so
losses and gradients are those of a batch that is held whole.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from graphloss.models.parts import Budget, cut, parts_by_length


class Passed(NamedTuple):
    """What one pass of the encoder over n documents gives.

    Attributes:
        logits: (n, C).
        embeddings: (n, d), pooled.
        hidden_states: (n, T, d), of the last layer.
    """

    logits: Float[Tensor, "n C"]
    embeddings: Float[Tensor, "n d"]
    hidden_states: Float[Tensor, "n T d"]


def pass_in_parts(
    one_pass: Callable[[dict[str, Tensor]], Passed],
    inputs: dict[str, Tensor],
    budget: Budget,
    micro_batch_size: int,
    last_pass: Callable[[dict[str, Tensor]], Passed] | None = None,
    count: int | None = None,
) -> tuple[Tensor, Tensor, list[Tensor]]:
    """Run a batch in parts and put the results together again.

    Args:
        one_pass: over the (n, T) tensors of a part; a second time for parts that are computed again.
        inputs: (B, T) tensors, with an attention_mask; padding on either side.
        budget: of the device.
        micro_batch_size: documents whose activations are held at once; B or more for all.
        last_pass: in place of `one_pass` for the last part, which is always held: engines that keep several processes
            together want to be called once a step, and not from within a backward pass.
        count: of the parts, at most B; by default as many as the budget asks for. Processes that share the weights take
            the same number.

    Returns:
        Logits (B, C) and embeddings (B, d), and the hidden states of the parts that are held and not computed again.
    """
    lengths = inputs["attention_mask"].sum(dim=1)
    parts = parts_by_length(lengths, budget, micro_batch_size) if count is None else _equal_parts(lengths, count)
    first_held = _first_held([len(rows) for rows in parts], micro_batch_size)
    logits, embeddings, hidden_states = [], [], []
    for number, tensors in enumerate(cut(inputs, parts)):
        if number >= first_held:
            passed = (last_pass or one_pass)(tensors) if number == len(parts) - 1 else one_pass(tensors)
            hidden_states.append(passed.hidden_states)
        else:
            passed = checkpoint(lambda part: one_pass(part)[:2], tensors, use_reentrant=False)
        logits.append(passed[0])
        embeddings.append(passed[1])
    back = torch.cat(parts).argsort().to(logits[0].device)
    return torch.cat(logits)[back], torch.cat(embeddings)[back], hidden_states


def _equal_parts(lengths: Tensor, count: int) -> list[Tensor]:
    return list(lengths.cpu().argsort(descending=True).tensor_split(count))


def _first_held(sizes: list[int], micro_batch_size: int) -> int:
    """The last parts are held: the backward pass comes to them first, and frees them before any other is formed."""
    first, documents = len(sizes), 0
    while first and documents + sizes[first - 1] <= micro_batch_size:
        first -= 1
        documents += sizes[first]
    return first
