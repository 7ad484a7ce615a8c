"""The mean of all tokens for a stock head, which reads one token: a last layer in which each token looks at all alike.

Sentence encoders are made to be read by the mean of their tokens (Reimers & Gurevych, 2019, Sentence-BERT); the heads
of BERT and RoBERTa read the first. A layer of the architecture's own kind can take the mean: with queries and keys of
zero attention is uniform, a value and an output that change nothing hand the mean on, and a feed-forward part of zero
adds nothing. Any tool that serves the architecture serves the result.
"""

import copy
from typing import Any

import torch
from torch import nn

from graphloss.models.classifier import Classifier

QUERY, VALUE, OUTPUT = "attention.self.query", "attention.self.value", "attention.output.dense"
ZERO = (QUERY, "attention.self.key", "intermediate.dense", "output.dense")
NORMS = ("attention.output.LayerNorm", "output.LayerNorm")
HEADS = ("pooler.dense", "classifier.dense")  # between the token and the last layer
SCALE = 1e3  # of the mean, before a token's own state is added and both are normalized: that is then next to nothing


@torch.no_grad()
def add_mean_layer(model: Classifier) -> bool:
    """Add a last layer to an encoder after which each token holds the mean of all tokens, normalized.

    The layer is trained like any other, but stays uniform: where queries and keys are zero, so are their gradients. The
    dense layer of the head is made to hand on what it reads. A model that has such a layer keeps it.

    Args:
        model: a classifier, changed in place.

    Returns:
        Whether the encoder has the layer now; False, and nothing changed, where it is not built like BERT.
    """
    encoder: Any = model.base_model
    layers = getattr(getattr(encoder, "encoder", None), "layer", None)
    if not isinstance(layers, nn.ModuleList) or not _is_built_like_bert(layers[-1]):
        return False
    last: Any = layers[-1]
    if last.get_submodule(QUERY).weight.any():  # no such layer yet
        layers.append(copy.deepcopy(last, {id(encoder.config): encoder.config}))  # all layers share one config
        encoder.config.num_hidden_layers += 1
        _hand_on_the_mean(layers[-1])
        for name, module in model.named_modules():
            if name.endswith(HEADS):
                _set(module, 1.0)
    return True


def _is_built_like_bert(layer: nn.Module) -> bool:
    names = {name for name, _ in layer.named_modules()}
    return names.issuperset((*ZERO, VALUE, OUTPUT, *NORMS))


def _hand_on_the_mean(layer: nn.Module) -> None:
    for name in ZERO:
        _set(layer.get_submodule(name), 0.0)
    _set(layer.get_submodule(VALUE), 1.0)
    _set(layer.get_submodule(OUTPUT), SCALE)
    for name in NORMS:
        norm: Any = layer.get_submodule(name)
        nn.init.ones_(norm.weight)
        nn.init.zeros_(norm.bias)


def _set(dense: Any, diagonal: float) -> None:
    nn.init.eye_(dense.weight).mul_(diagonal)
    nn.init.zeros_(dense.bias)
