"""Dropout that a CPU draws fast.

On a CPU torch draws each entry of a mask by a number of its own, on one core, which is a large part of a training step
of a small encoder. Here one 64-bit number makes four decisions; docs/log.md says what else was tried. Masks come from
torch's own generator, so that what is computed again draws them again.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from graphloss.models.pooling import encoder_of

NAME = "graphloss_quick_dropout"
LEVELS = 2**16  # that a probability is rounded to


def quicken_dropout(model: nn.Module) -> None:
    """Let all dropout of a classifier be drawn fast, in its layers and, where it is that of `sdpa`, in its attention.

    Args:
        model: a classifier with a `base_model`, on the CPU.
    """
    for module in model.modules():
        if type(module) is nn.Dropout and not module.inplace:
            module.__class__ = QuickDropout
    encoder: Any = encoder_of(model)
    if encoder.config._attn_implementation == "sdpa" and encoder._supports_attention_backend:
        encoder.set_attn_implementation(NAME)


class QuickDropout(nn.Dropout):
    """As `torch.nn.Dropout`, with the probability rounded to a 65,536th."""

    def forward(self, input: Tensor) -> Tensor:
        return quick_dropout(input, self.p) if self.training else input


def quick_dropout(values: Tensor, probability: float) -> Tensor:
    """Set entries to zero with a probability, rounded to a 65,536th, and scale up the others so that the mean stays.

    Args:
        values: of any shape and floating type.
        probability: in [0, 1].
    """
    dropped = round(probability * LEVELS)
    if dropped == 0:
        return values
    return values * 0.0 if dropped == LEVELS else _Dropout.apply(values, dropped)


class _Dropout(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, values: Tensor, dropped: int) -> Tensor:
        count = values.numel()
        numbers = torch.empty(-(-count // 4), dtype=torch.int64, device=values.device).random_(-(2**63), None)
        draws, least = numbers.view(torch.int16)[:count].view(values.shape), dropped - LEVELS // 2
        two_bytes = values.element_size() == 2
        kept = torch.ge(draws, least, out=draws).neg_() if two_bytes else draws >= least
        ctx.save_for_backward(kept)
        ctx.scale = LEVELS / (LEVELS - dropped)
        return _only(values, kept).mul_(ctx.scale)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        (kept,) = ctx.saved_tensors
        return _only(gradients[0], kept).mul_(ctx.scale), None


def _only(values: Tensor, kept: Tensor) -> Tensor:
    """What is kept, by a mask that is true or false, or, for types of two bytes, has all bits set or none: a product
    of different types is several times slower."""
    return values * kept if kept.dtype == torch.bool else (values.view(kept.dtype) & kept).view(values.dtype)


def quick_attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    **others: Any,
) -> tuple[Tensor, None]:
    """The attention `sdpa` of transformers; with dropout, its plain formula with masks drawn fast.

    Args:
        module: of the attention.
        query, key, value: (B, H, T, h).
        attention_mask: broadcasts to (B, H, T, T), true where a token is seen, or a float that is added; None for all.
        dropout: probability.
        scaling: of the products; 1 / sqrt(h) where not given.

    Returns:
        (B, T, H, h).
    """
    shared_keys = key.shape[1] != query.shape[1]
    causal = others["is_causal"] if others.get("is_causal") is not None else getattr(module, "is_causal", True)
    if dropout == 0.0 or shared_keys or (causal and attention_mask is None):
        settings = {"dropout": dropout, "scaling": scaling} | others
        return sdpa_attention_forward(module, query, key, value, attention_mask, **settings)
    scores = (query * (query.shape[-1] ** -0.5 if scaling is None else scaling)) @ key.mT
    if attention_mask is not None and attention_mask.dtype == torch.bool:
        scores = scores.masked_fill(~attention_mask, torch.finfo(scores.dtype).min)
    elif attention_mask is not None:
        scores = scores + attention_mask
    weights = quick_dropout(scores.softmax(dim=-1).to(value.dtype), dropout)
    return (weights @ value).transpose(1, 2).contiguous(), None


AttentionInterface.register(NAME, quick_attention)
AttentionMaskInterface.register(NAME, sdpa_mask)
