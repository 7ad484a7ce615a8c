"""The last layer of classifiers of five architectures."""

from pathlib import Path

import pytest
import torch
from transformers import BatchEncoding

from graphloss.models.classifier import Classifier, build_classifier
from graphloss.models.encoder import load_encoder
from graphloss.models.last_layer import calibrate_logits, last_layer, set_last_layer, without_last_layer
from graphloss.models.linear_head import LinearHead
from tests.conftest import CONFIGS


@pytest.fixture(params=[(name, head) for name in CONFIGS for head in ("stock", "linear")], ids="-".join)
def case(request: pytest.FixtureRequest, encoders: dict[str, Path]) -> tuple[Classifier, BatchEncoding]:
    """A classifier of three classes, and two documents of different length."""
    name, head = request.param
    encoder = load_encoder(str(encoders[name]))
    model = build_classifier(encoder, ["a", "b", "c"], head=head, pooling="mean").eval()
    tokens = encoder.tokenizer(["the goal of the team", "a soup"], padding=True, return_tensors="pt")
    if "pad_token_id" not in model.config.to_dict() or model.config.pad_token_id is None:
        model.config.pad_token_id = encoder.tokenizer.pad_token_id
    return model, tokens


@torch.no_grad()
def test_logits_are_calibrated_for_good(case: tuple[Classifier, BatchEncoding]) -> None:
    model, tokens = case
    before, shift = model(**tokens).logits, torch.tensor([0.5, -1.0, 0.0], dtype=torch.float64)
    calibrate_logits(model, 2.5, shift)
    added = 0.0 if last_layer(model)[1].bias is None else shift.float()
    torch.testing.assert_close(model(**tokens).logits, before / 2.5 + added)


@torch.no_grad()
def test_a_head_on_what_the_last_layer_reads_is_the_last_layer(case: tuple[Classifier, BatchEncoding]) -> None:
    model, tokens = case
    before = model(**tokens).logits
    with without_last_layer(model):
        features = model(**tokens).logits
    torch.testing.assert_close(model(**tokens).logits, before)
    head = LinearHead(torch.randn(3, features.shape[1]), torch.randn(3), torch.empty(0, 3))
    set_last_layer(model, head)
    bias = 0.0 if last_layer(model)[1].bias is None else head.bias
    torch.testing.assert_close(model(**tokens).logits, features @ head.weight.T + bias)
