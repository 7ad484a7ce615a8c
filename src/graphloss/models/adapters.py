"""Low-rank adapters (LoRA) in the encoder of a classifier."""

from torch import nn

from graphloss.errors import InputError
from graphloss.models.pooling import encoder_of


def add_adapters(model: nn.Module, rank: int) -> None:
    """Freeze the encoder of a classifier and put adapters into each of its linear layers; the head stays trainable.

    Args:
        model: a classifier with a `base_model`.
        rank: of the adapters; their scale is twice the rank.

    Raises:
        InputError: where peft is not installed, or the rank is below 1.

    Source: Hu et al. (2022), LoRA.
    """
    if rank < 1:
        raise InputError(f"lora_rank must be at least 1, or 0 for none, got {rank}")
    try:
        from peft import LoraConfig, inject_adapter_in_model
    except ImportError:
        raise InputError("--lora_rank needs peft; install graphloss[lora]") from None
    encoder = encoder_of(model)
    encoder.requires_grad_(False)
    settings = LoraConfig(r=rank, lora_alpha=2 * rank, target_modules="all-linear")
    inject_adapter_in_model(settings, encoder)


def merge_adapters(model: nn.Module) -> None:
    """Add the adapters to the weights that they adapt and take them out, so that a plain model remains."""
    from peft.tuners.lora import LoraLayer

    for parent in list(model.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, LoraLayer):
                child.merge()
                setattr(parent, name, child.get_base_layer())
