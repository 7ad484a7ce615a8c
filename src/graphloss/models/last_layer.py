"""The last layer of a classifier, whatever the architecture: what it reads, and its weights."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from graphloss.models.classifier import Classifier
from graphloss.models.linear_head import LinearHead


def last_layer(model: Classifier) -> tuple[str, nn.Linear]:
    """The name and the layer that gives the logits."""
    layers = [(name, layer) for name, layer in model.named_modules() if isinstance(layer, nn.Linear)]
    return [(name, layer) for name, layer in layers if layer.out_features == model.config.num_labels][-1]


@contextmanager
def without_last_layer(model: Classifier) -> Iterator[None]:
    """Meanwhile the model gives, in the place of logits, what its last layer would read."""
    name, layer = last_layer(model)
    model.set_submodule(name, nn.Identity())
    try:
        yield
    finally:
        model.set_submodule(name, layer)


def set_last_layer(model: Classifier, head: LinearHead) -> None:
    """Give the last layer the weights of a head; a layer without a bias takes the weights alone."""
    _, layer = last_layer(model)
    with torch.no_grad():
        layer.weight.copy_(head.weight)
        if layer.bias is not None:
            layer.bias.copy_(head.bias)


def calibrate_logits(model: Classifier, temperature: float, shift: Tensor) -> None:
    """Divide the logits by a temperature and add a shift (C,), for good: the last layer does it, whatever serves it.

    A layer without a bias takes no shift but zero.
    """
    _, layer = last_layer(model)
    with torch.no_grad():
        for weights in layer.parameters():
            weights.div_(temperature)
        if layer.bias is not None:
            layer.bias.add_(shift.to(layer.bias))
