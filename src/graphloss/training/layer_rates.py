"""Learning rates that fall from layer to layer, from the head down."""

import torch
from torch import nn

from graphloss.models.pooling import encoder_of


def decay_by_layer(optimizer: torch.optim.Optimizer, model: nn.Module, decay: float) -> None:
    """Split the groups of an optimizer by layer: the head and what else follows the last layer keeps its learning rate,
    each layer has `decay` times that of the layer above it, and what precedes the first layer has the lowest.

    Args:
        optimizer: made, and not stepped yet. The head is in the first of its groups, whose rate is logged.
        model: a classifier of transformers whose parameters it holds, also one wrapped by peft.
        decay: above 0, at most 1.

    Source: Howard & Ruder (2018), "Universal Language Model Fine-tuning for Text Classification", whose factor is
    1 / 2.6.
    """
    depths = _depths(encoder_of(model))
    top = max(depths.values(), default=0) + 1
    groups = list(optimizer.param_groups)
    optimizer.param_groups.clear()
    for group in groups:
        by_depth: dict[int, list[nn.Parameter]] = {}
        for parameter in group["params"]:
            by_depth.setdefault(depths.get(id(parameter), top), []).append(parameter)
        for depth, parameters in sorted(by_depth.items(), reverse=True):
            optimizer.add_param_group({**group, "params": parameters, "lr": group["lr"] * decay ** (top - depth)})


def _depths(encoder: nn.Module) -> dict[int, int]:
    """By the identity of a parameter: the number of its layer from 1 on, and 0 before the first layer. Modules stand in
    an encoder in the order in which texts pass them, and layers alone are numbered."""
    depths: dict[int, int] = {}
    for name, parameter in encoder.named_parameters():
        numbers = [int(part) for part in name.split(".") if part.isdecimal()]
        if numbers:
            depths[id(parameter)] = numbers[0] + 1
        elif not any(depths.values()):
            depths[id(parameter)] = 0
    return depths
