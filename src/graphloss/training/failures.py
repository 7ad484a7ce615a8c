"""Why training stops, in the words of a user: numbers that are not finite, and memory that is not enough."""

from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedTokenizerBase


class NonFiniteLoss(RuntimeError):
    """Training stopped because the loss was not a finite number; says the step and the likely cause."""


class OutOfMemory(RuntimeError):
    """A micro batch did not fit into memory; says which document, its length, and what to set."""


def check_finite(parts: dict[str, Tensor], step: int, *, fp16: bool) -> None:
    """Refuse losses and embeddings that are not finite, before the graph is built: of finite ones its loss is finite.

    Raises:
        NonFiniteLoss: with the names of the parts.
    """
    if torch.stack([torch.isfinite(part).all() for part in parts.values()]).all():
        return
    wrong = " and ".join(name for name, part in parts.items() if not torch.isfinite(part).all())
    raise NonFiniteLoss(f"step {step}: the loss is not finite, because of {wrong}; {_remedy(fp16)}")


def check_weights(model: nn.Module, step: int, *, fp16: bool) -> None:
    """Refuse weights that are not finite.

    Raises:
        NonFiniteLoss: with the name of the first.
    """
    for name, weight in model.named_parameters():
        if not torch.isfinite(weight).all():
            raise NonFiniteLoss(
                f"step {step}: weight {name} is not finite, after a gradient that was not; {_remedy(fp16)}"
            )


def _remedy(fp16: bool) -> str:
    return "lower --learning_rate" + (", or train with --precision float32" if fp16 else "")


def is_out_of_memory(error: RuntimeError) -> bool:
    """Whether an error says that memory could not be had, on any device."""
    return isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in str(error)


def out_of_memory(
    inputs: dict[str, Tensor], tokens: Any, tokenizer: PreTrainedTokenizerBase, *, step: int, micro_batch_size: int
) -> OutOfMemory:
    """The error for a batch that did not fit.

    Args:
        inputs: (B, T) tensors of the batch, with an attention_mask.
        tokens: the training documents, with input_ids, among which the longest of the batch is looked for.
        tokenizer: to show how that one starts.
        step: from 1.
        micro_batch_size: documents whose activations were to be held at once.
    """
    if micro_batch_size > 1:
        return OutOfMemory(
            f"step {step}: {micro_batch_size} documents do not fit into memory at once; set --micro_batch_size "
            f"{micro_batch_size // 2}, which leaves the graph as large as it is"
        )
    longest = int(inputs["attention_mask"].sum(dim=1).argmax())
    ids = inputs["input_ids"][longest][inputs["attention_mask"][longest].bool()].tolist()
    row = next((row for row, found in enumerate(tokens["input_ids"], 1) if list(found) == ids), 0)
    start = tokenizer.decode(ids[:16], skip_special_tokens=True)
    return OutOfMemory(
        f"step {step}: a document of {len(ids)} tokens does not fit into memory even alone (training row {row}, "
        f"{start!r} ...); lower --max_length, or set --activation_checkpointing or --lora_rank"
    )
