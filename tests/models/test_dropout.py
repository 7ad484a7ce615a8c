"""Dropout drawn fast is dropout."""

from pathlib import Path

import pytest
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint
from transformers import AutoModelForSequenceClassification

from graphloss.models.dropout import NAME, QuickDropout, quick_attention, quick_dropout, quicken_dropout
from graphloss.models.pooling import encoder_of


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("probability", [0.1, 0.5, 0.9])
def test_drops_the_share_and_keeps_the_mean(probability: float, dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    values = torch.ones(401, 403, dtype=dtype)
    dropped = quick_dropout(values, probability)
    assert dropped.dtype == dtype
    zero = (dropped == 0).double()
    assert float(zero.mean()) == pytest.approx(probability, abs=5e-3)
    kept = dropped[dropped != 0]
    assert float(kept.min()) == float(kept.max()) == pytest.approx(1 / (1 - probability), rel=1e-2)
    for step in (1, 2, 3, 4, 403):  # neighbours, also those that share a random number, are independent
        flat = zero.flatten()
        both = float((flat[:-step] * flat[step:]).mean())
        assert both == pytest.approx(probability**2, abs=5e-3), step


def test_the_gradient_has_the_mask_of_the_values() -> None:
    values = torch.randn(37, 11, requires_grad=True)
    dropped = quick_dropout(values, 0.3)
    dropped.sum().backward()
    torch.testing.assert_close(values.grad * values.detach(), dropped.detach())


def test_is_drawn_again_where_it_is_computed_again() -> None:
    values = torch.randn(64, 8, requires_grad=True)
    dropped = checkpoint(lambda x: quick_dropout(x.exp(), 0.5).square(), values, use_reentrant=False)
    dropped.sum().backward()
    kept = dropped.detach() != 0
    torch.testing.assert_close(values.grad != 0, kept)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_a_seed_drops_the_same_in_every_type(dtype: torch.dtype) -> None:
    values = torch.arange(1.0, 65.0).view(4, 16)
    leaves = [values.to(kind).T.requires_grad_() for kind in (torch.float32, dtype)]  # not contiguous
    results = []
    for leaf in leaves:
        torch.manual_seed(0)
        results.append(quick_dropout(leaf, 0.25))
        results[-1].sum().backward()
    expected, found = results
    assert found.dtype == dtype
    assert torch.equal(found == 0, expected == 0)
    torch.testing.assert_close(found.float(), expected, rtol=1e-2, atol=0)
    torch.testing.assert_close(leaves[1].grad.float(), leaves[0].grad, rtol=1e-2, atol=0)


def test_nothing_and_everything() -> None:
    values = torch.randn(5)
    assert quick_dropout(values, 0.0) is values
    assert quick_dropout(values, 1.0).tolist() == [0.0] * 5
    layer = QuickDropout(0.5).eval()
    assert layer(values) is values


def attention(mask: torch.Tensor | None, dropout: float, keys: torch.Tensor | None = None) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    query, key, value = (torch.randn(2, 2, 6, 4, generator=generator) for _ in range(3))
    key = key if keys is None else key + keys
    module = nn.Module()
    module.is_causal = False
    return quick_attention(module, query, key, value, mask, dropout=dropout)[0]


@pytest.mark.parametrize("kind", ["none", "bool", "float"])
def test_attention_is_that_of_sdpa_in_the_mean(kind: str) -> None:
    seen = torch.tensor([[1, 1, 1, 1, 0, 0], [1, 1, 1, 1, 1, 1]], dtype=torch.bool)[:, None, None, :]
    mask = {"none": None, "bool": seen, "float": torch.zeros(seen.shape).masked_fill(~seen, -1e9)}[kind]
    torch.manual_seed(0)
    exact = attention(mask, 0.0)
    draws = torch.stack([attention(mask, 0.2) for _ in range(4_000)])
    assert (draws.std(dim=0) > 0.01).all()
    torch.testing.assert_close(draws.mean(dim=0), exact, rtol=0, atol=0.06)
    if mask is not None:
        hidden = torch.zeros(2, 2, 6, 4).index_fill(2, torch.tensor([4, 5]), 9.0)
        hidden[1] = 0.0
        results = []
        for keys in (None, hidden):
            torch.manual_seed(1)
            results.append(attention(mask, 0.2, keys))
        torch.testing.assert_close(results[0], results[1])


@pytest.mark.parametrize("name", ["bert", "roberta", "distilbert", "modernbert", "llama"])
def test_a_classifier_learns_with_it_and_answers_as_before(
    name: str, encoders: dict[str, Path], tmp_path: Path
) -> None:
    model = AutoModelForSequenceClassification.from_pretrained(encoders[name], num_labels=3, pad_token_id=0).eval()
    ids = torch.randint(5, 20, (4, 9))
    mask = torch.ones_like(ids)
    mask[0, 5:] = 0
    before = model(input_ids=ids, attention_mask=mask).logits
    quicken_dropout(model)
    assert encoder_of(model).config._attn_implementation == NAME
    assert not any(type(module) is nn.Dropout for module in model.modules())
    torch.testing.assert_close(model(input_ids=ids, attention_mask=mask).logits, before)
    model.train()
    first, second = (model(input_ids=ids, attention_mask=mask).logits for _ in range(2))
    if name in ("bert", "roberta", "distilbert"):  # the others have no dropout by default
        assert not torch.equal(first, second)
    first.sum().backward()
    model.save_pretrained(tmp_path)
    assert NAME not in (tmp_path / "config.json").read_text()
