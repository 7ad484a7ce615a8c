"""From the hidden states of tokens to one embedding a document."""

from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from graphloss.errors import InputError

POOLINGS = ("first", "mean", "last")


def pool(
    hidden_states: Float[Tensor, "B T d"], attention_mask: Int[Tensor, "B T"] | None, pooling: str
) -> Float[Tensor, "B d"]:
    """Pool token states, by the attention mask, with padding on either side.

    Args:
        hidden_states: (B, T, d) float, of the last layer.
        attention_mask: (B, T) int64, 1 for tokens and 0 for padding; None for no padding.
        pooling: "first", "mean" or "last" token.

    Returns:
        (B, d), same dtype.

    Raises:
        InputError: for an unknown pooling.
    """
    if pooling not in POOLINGS:
        raise InputError(f"pooling must be one of {', '.join(POOLINGS)}, got {pooling!r}")
    if attention_mask is None:
        attention_mask = torch.ones(hidden_states.shape[:2], dtype=torch.long, device=hidden_states.device)
    if pooling == "mean":
        weights = attention_mask[:, :, None].to(hidden_states.dtype)
        return (hidden_states * weights).sum(dim=1) / weights.sum(dim=1).clamp_min(1.0)
    if pooling == "first":
        position = attention_mask.argmax(dim=1)
    else:
        position = attention_mask.shape[1] - 1 - attention_mask.flip(1).argmax(dim=1)
    return hidden_states[torch.arange(len(hidden_states), device=hidden_states.device), position]


def encoder_of(model: nn.Module) -> nn.Module:
    """The encoder inside a classifier, also one wrapped by peft."""
    wrapped: Any = model
    if hasattr(wrapped, "get_base_model"):  # a PeftModel: its own base_model is the tuner, not the encoder
        wrapped = wrapped.get_base_model()
    return wrapped.base_model


class HiddenStates:
    """Keeps the last hidden state that the encoder of a classifier gave, by a hook: one pass gives embeddings and
    logits, for any architecture.

    Args:
        model: a classifier of transformers with a `base_model`, also wrapped by peft.
    """

    def __init__(self, model: nn.Module) -> None:
        self._handle = encoder_of(model).register_forward_hook(self._keep)
        self._last: Tensor | None = None

    def take(self) -> Float[Tensor, "B T d"]:
        """The hidden states of the last forward pass, (B, T, d); once."""
        if self._last is None:
            raise RuntimeError("the encoder has not run since its hidden states were taken")
        last, self._last = self._last, None
        return last

    def remove(self) -> None:
        """Take the hook off the model."""
        self._handle.remove()

    def _keep(self, module: nn.Module, inputs: Any, output: Any) -> None:
        self._last = output[0]
