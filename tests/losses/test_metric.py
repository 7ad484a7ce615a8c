"""The losses to compare with, against plain loops over pairs and triplets."""

import builtins
import math
from typing import Any

import pytest
import torch
from torch import Tensor

from graphloss.errors import InputError
from graphloss.losses.combined import CombinedLoss
from graphloss.losses.config import GLossConfig, MetricConfig
from graphloss.losses.metric import METRIC_LOSSES, MetricLoss


def batch(documents: int = 9, classes: int = 3, seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(documents, 5, generator=generator), torch.arange(documents) % classes


def supervised_contrastive(points: Tensor, labels: Tensor, temperature: float) -> Tensor:
    unit = points / points.norm(dim=1, keepdim=True)
    by_anchor = []
    for anchor in range(len(unit)):
        others = [other for other in range(len(unit)) if other != anchor]
        positives = [other for other in others if labels[other] == labels[anchor]]
        if positives:
            logits = {other: unit[anchor] @ unit[other] / temperature for other in others}
            total = torch.logsumexp(torch.stack(list(logits.values())), dim=0)
            by_anchor.append(-torch.stack([logits[other] - total for other in positives]).mean())
    return torch.stack(by_anchor).mean()


def batch_all_triplet(points: Tensor, labels: Tensor, margin: float) -> Tensor:
    losses = []
    for anchor in range(len(points)):
        for near in range(len(points)):
            for far in range(len(points)):
                if anchor != near and labels[anchor] == labels[near] != labels[far]:
                    distances = [(points[anchor] - points[other]).norm() for other in (near, far)]
                    loss = (distances[0] - distances[1] + margin).clamp_min(0.0)
                    if loss > 0:
                        losses.append(loss)
    return torch.stack(losses).mean()


def cosine_of_all_pairs(points: Tensor, labels: Tensor) -> Tensor:
    errors = []
    for first in range(len(points)):
        for second in range(first):
            cosine = torch.cosine_similarity(points[first], points[second], dim=0)
            errors.append((cosine - float(labels[first] == labels[second])).square())
    return torch.stack(errors).mean()


REFERENCES = {
    "scl": lambda points, labels: supervised_contrastive(points, labels, 0.2),
    "triplet": lambda points, labels: batch_all_triplet(points, labels, 2.0),
    "cosine": cosine_of_all_pairs,
}


@pytest.mark.parametrize("name", METRIC_LOSSES)
@pytest.mark.parametrize("seed", [0, 1])
def test_losses_and_gradients_are_those_of_plain_loops(name: str, seed: int) -> None:
    points, labels = batch(seed=seed)
    gradients = []
    for loss_of in (MetricLoss(name, temperature=0.2, margin=2.0), REFERENCES[name]):
        given = points.clone().requires_grad_()
        loss = loss_of(given, labels)
        loss.backward()
        gradients.append((loss.detach(), given.grad))
    torch.testing.assert_close(*gradients, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", METRIC_LOSSES)
def test_documents_without_a_label_do_not_count(name: str) -> None:
    points, labels = batch()
    more, none = torch.cat([points, points[:2] + 1.0]), torch.cat([labels, torch.tensor([-100, -100])])
    loss = MetricLoss(name)
    torch.testing.assert_close(loss(more, none), loss(points, labels))


@pytest.mark.parametrize("name", METRIC_LOSSES)
@pytest.mark.parametrize("labels", [[-100, -100, -100], [0, -100, -100], [0, 1, 2], [1, 1, 1]])
def test_there_is_always_a_gradient(name: str, labels: list[int]) -> None:
    points = batch(3)[0].requires_grad_()
    loss = MetricLoss(name)(points, torch.tensor(labels))
    loss.backward()
    assert math.isfinite(loss.item())
    assert points.grad is not None
    assert torch.isfinite(points.grad).all()


@pytest.mark.parametrize("name", METRIC_LOSSES)
def test_bf16_embeddings_are_compared_in_float32(name: str) -> None:
    points, labels = batch()
    rounded = points.bfloat16()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = MetricLoss(name)(rounded, labels)
    torch.testing.assert_close(loss, MetricLoss(name)(rounded.float(), labels))


@pytest.mark.parametrize(("name", "weight"), [("gloss", 0.4), ("scl", 0.8), ("ce", 0.0)])
def test_the_sum_weighs_its_parts(name: str, weight: float) -> None:
    points, labels = batch(12)
    logits = points[:, :3] * 2.0
    gloss, metric = GLossConfig(graph_weight=0.4), MetricConfig(metric_weight=0.8)
    total, parts = CombinedLoss(name, 3, gloss=gloss, metric=metric)(logits, points, labels, step=0, epoch=0)
    cross_entropy = torch.nn.functional.cross_entropy(logits, labels)
    others = [part for part_name, part in parts.items() if part_name != "ce_loss"]
    expected = (1.0 - weight) * cross_entropy + sum(weight * part for part in others)
    torch.testing.assert_close(total, expected)
    if name != "ce":
        alone = CombinedLoss(name, 3, gloss=gloss, metric=metric, standalone=True)
        total, parts = alone(logits, points, labels, step=0, epoch=0)
        torch.testing.assert_close(total, others[0])
        assert "ce_loss" not in parts


def test_without_the_library_it_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    found = builtins.__import__

    def without(name: str, *others: Any) -> Any:
        if name.startswith("pytorch_metric_learning"):
            raise ImportError(name)
        return found(name, *others)

    monkeypatch.setattr(builtins, "__import__", without)
    assert MetricLoss("cosine")
    with pytest.raises(InputError, match="pip install graphloss\\[losses\\]"):
        MetricLoss("scl")
