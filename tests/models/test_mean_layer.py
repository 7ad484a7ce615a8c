"""The layer that hands the mean of the tokens to a stock head."""

from pathlib import Path

import pytest
import torch
from torch.nn import functional
from transformers import AutoModelForSequenceClassification, BatchEncoding

from graphloss.models.classifier import Classifier, build_classifier
from graphloss.models.encoder import load_encoder
from graphloss.models.mean_layer import add_mean_layer
from graphloss.models.pooling import pool

NAMES = ["a", "b", "c"]
TEXTS = ["the goal of the team in the last minute", "a soup"]


@pytest.fixture(params=["bert", "roberta"])
def case(request: pytest.FixtureRequest, encoders: dict[str, Path]) -> tuple[Classifier, BatchEncoding]:
    """A classifier, and two documents of different length."""
    encoder = load_encoder(str(encoders[request.param]))
    return build_classifier(encoder, NAMES).eval(), encoder.tokenizer(TEXTS, padding=True, return_tensors="pt")


def states(model: Classifier, tokens: BatchEncoding) -> torch.Tensor:
    return model.base_model(**tokens).last_hidden_state


@torch.no_grad()
def test_each_token_then_holds_the_mean(case: tuple[Classifier, BatchEncoding]) -> None:
    model, tokens = case
    mean = pool(states(model, tokens), tokens["attention_mask"], "mean")
    assert add_mean_layer(model)
    expected = functional.layer_norm(mean, mean.shape[1:])[:, None].expand_as(states(model, tokens))
    mask = tokens["attention_mask"].bool()
    torch.testing.assert_close(states(model, tokens)[mask], expected[mask], atol=0.02, rtol=0.0)


@torch.no_grad()
def test_stock_tools_read_it(case: tuple[Classifier, BatchEncoding], tmp_path: Path) -> None:
    model, tokens = case
    layers = model.config.num_hidden_layers
    assert add_mean_layer(model)
    assert add_mean_layer(model)  # which it has already
    model.save_pretrained(tmp_path)
    read = AutoModelForSequenceClassification.from_pretrained(tmp_path).eval()
    assert read.config.num_hidden_layers == layers + 1
    torch.testing.assert_close(read(**tokens).logits, model(**tokens).logits)
    assert add_mean_layer(read)
    assert read.config.num_hidden_layers == layers + 1


def test_training_leaves_it_uniform(case: tuple[Classifier, BatchEncoding]) -> None:
    model, tokens = case
    add_mean_layer(model)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    for _ in range(3):
        optimizer.zero_grad()
        functional.cross_entropy(model(**tokens).logits, torch.tensor([0, 1])).backward()
        optimizer.step()
    first, *others = states(model, tokens)[1][tokens["attention_mask"][1].bool()].detach()
    assert not torch.equal(model.base_model.encoder.layer[-1].attention.self.value.weight, torch.eye(len(first)))
    for other in others:
        torch.testing.assert_close(other, first, atol=0.02, rtol=0.0)


def test_other_architectures_are_left_alone(encoders: dict[str, Path]) -> None:
    model = build_classifier(load_encoder(str(encoders["distilbert"])), NAMES)
    before = sum(1 for _ in model.parameters())
    assert not add_mean_layer(model)
    assert sum(1 for _ in model.parameters()) == before
