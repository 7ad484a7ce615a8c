"""Running a padded batch of documents through an encoder as one packed sequence, so that no padding is computed."""

import inspect
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn.functional import pad
from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS, flash_attention_mask

from graphloss.models.pooling import encoder_of

NEEDED_ARGUMENTS = {"input_ids", "attention_mask", "position_ids"}
ATTENTION_LAYERS = {"full_attention", "sliding_attention"}


def takes_packed_sequences(model: nn.Module) -> bool:
    """Whether the encoder of a classifier keeps documents apart that lie one after another in one sequence: with flash
    attention, of the package or from the hub, in an architecture whose tokens meet in attention only.

    Args:
        model: a classifier with a `base_model`, also wrapped by peft.
    """
    encoder: Any = encoder_of(model)
    config = encoder.config
    name = config._attn_implementation or ""
    parameters = inspect.signature(encoder.forward).parameters
    return (
        "flash" in name
        and ALL_MASK_ATTENTION_FUNCTIONS.get(name) is flash_attention_mask  # not so where the hub's is of another kind
        and encoder._supports_attention_backend  # transformers' word that keyword arguments reach the attention
        and parameters.keys() >= NEEDED_ARGUMENTS
        and any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values())
        and not config.is_encoder_decoder
        and not encoder._is_stateful  # recurrent
        and set(getattr(config, "layer_types", None) or ()) <= ATTENTION_LAYERS
        and not getattr(config, "trigram_input", False)  # MobileBERT embeds each token with its neighbours
        and not isinstance(getattr(encoder, "pooler", None), nn.Linear)  # ALBERT's gets the first token, not the states
    )


def restarting_positions(
    encoder: nn.Module, input_ids: Int[Tensor, "B T"], attention_mask: Int[Tensor, "B T"]
) -> Int[Tensor, "B T"]:
    """Positions that begin anew at each document: at 0 or, where the encoder's table of positions keeps a row for
    padding, as RoBERTa's does, at the row after it.

    Args:
        encoder: the base model.
        input_ids: (B, T) int64.
        attention_mask: (B, T) int64, 1 for tokens and 0 for padding, on either side.

    Returns:
        (B, T) int64; of no meaning at padding.
    """
    table = getattr(getattr(encoder, "embeddings", None), "position_embeddings", None)
    padding_row = getattr(table, "padding_idx", None)
    if padding_row is None:
        return attention_mask.cumsum(dim=1) - 1
    counted = attention_mask * (input_ids != padding_row)  # RoBERTa skips the padding token also inside a document
    return counted.cumsum(dim=1) * counted + padding_row


class PackedEncoder:
    """Packs what the encoder of a classifier gets, and puts its last hidden state back into (B, T, d), zero at padding,
    before a pooler, a head or a pooling reads it; by hooks.

    Install it before `HiddenStates`, which is to see the padded states. A pass without an attention mask or without
    token ids is left alone. Other outputs, such as the hidden states of all layers, stay packed; there is no cache.

    Args:
        model: a classifier with a `base_model`, also wrapped by peft.

    Raises:
        ValueError: where `takes_packed_sequences` says no.
    """

    def __init__(self, model: nn.Module) -> None:
        if not takes_packed_sequences(model):
            raise ValueError(f"{type(model).__name__} with its attention implementation takes no packed sequences")
        encoder: Any = encoder_of(model)
        self._arguments = list(inspect.signature(encoder.forward).parameters)
        self._layout: tuple[torch.Size, Tensor] | None = None
        self._handles = [
            encoder.register_forward_pre_hook(self._pack, with_kwargs=True),
            encoder.register_forward_hook(self._unpack_output),
        ]
        if getattr(encoder, "pooler", None) is not None:
            self._handles.append(encoder.pooler.register_forward_pre_hook(self._unpack_for_pooler))

    def remove(self) -> None:
        """Take the hooks off the model."""
        for handle in self._handles:
            handle.remove()

    def _pack(self, encoder: nn.Module, given: tuple, named: dict[str, Any]) -> tuple[tuple, dict[str, Any]] | None:
        self._layout = None  # else that of the last pass
        inputs = dict(zip(self._arguments, given, strict=False)) | named
        mask, input_ids = inputs.pop("attention_mask", None), inputs.get("input_ids")
        if mask is None or input_ids is None or mask.shape != input_ids.shape:
            return None
        if inputs.get("position_ids") is None:
            inputs["position_ids"] = restarting_positions(encoder, input_ids, mask)
        tokens = mask.flatten().nonzero()[:, 0]
        for name, value in inputs.items():
            if isinstance(value, Tensor) and value.shape[:2] == mask.shape:
                inputs[name] = value.flatten(0, 1)[tokens][None]
        if "use_cache" in self._arguments:
            inputs["use_cache"] = False
        borders = pad(mask.sum(dim=1).cumsum(dim=0), (1, 0)).to(torch.int32)
        longest = mask.shape[1]  # an upper bound is enough, and the device need not be waited for
        inputs |= {"cu_seq_lens_q": borders, "cu_seq_lens_k": borders, "max_length_q": longest, "max_length_k": longest}
        self._layout = mask.shape, tokens
        return (), inputs

    def _unpack(self, packed: Float[Tensor, "1 n d"]) -> Float[Tensor, "B T d"]:
        assert self._layout is not None
        shape, tokens = self._layout
        return packed.new_zeros(shape.numel(), packed.shape[2]).index_copy(0, tokens, packed[0]).unflatten(0, shape)

    def _unpack_for_pooler(self, pooler: nn.Module, given: tuple) -> tuple | None:
        return None if self._layout is None else (self._unpack(given[0]), *given[1:])

    def _unpack_output(self, encoder: nn.Module, given: tuple, output: Any) -> Any:
        if self._layout is None:
            return output
        states = self._unpack(output[0])
        if type(output) is tuple:
            return (states, *output[1:])
        output.last_hidden_state = states
        return output
