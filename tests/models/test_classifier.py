"""Classifiers over an encoder."""

from pathlib import Path

import pytest
import torch

from graphloss.models.classifier import build_classifier, divide_logits
from graphloss.models.encoder import load_encoder


@pytest.mark.parametrize("head", ["stock", "linear"])
@pytest.mark.parametrize("name", ["bert", "roberta", "distilbert", "modernbert", "llama"])
def test_logits_are_divided_for_good(name: str, head: str, encoders: dict[str, Path]) -> None:
    encoder = load_encoder(str(encoders[name]))
    model = build_classifier(encoder, ["a", "b", "c"], head=head, pooling="mean").eval()
    tokens = encoder.tokenizer(["the goal of the team", "a soup"], padding=True, return_tensors="pt")
    if "pad_token_id" not in model.config.to_dict() or model.config.pad_token_id is None:
        model.config.pad_token_id = encoder.tokenizer.pad_token_id
    with torch.no_grad():
        before = model(**tokens).logits
        divide_logits(model, 2.5)
        after = model(**tokens).logits
    torch.testing.assert_close(after, before / 2.5)
