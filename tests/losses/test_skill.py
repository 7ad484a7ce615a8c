"""The weight of the graph by what it knows."""

import math
from pathlib import Path

import pytest
import torch

from graphloss.errors import InputError
from graphloss.losses.combined import CombinedLoss
from graphloss.losses.config import GLossConfig, MetricConfig
from graphloss.losses.skill import KEPT, Skill
from tests.training.test_trainer import make

LABELS = torch.tensor([0, 1, 2, 0, 1, 2, -100])


def settled(skill: Skill, loss: float, labels: torch.Tensor = LABELS, steps: int = 200) -> float:
    for _ in range(steps):
        weight = skill.weight(torch.tensor(loss), labels)
    return float(weight)


def test_it_is_the_share_of_the_uncertainty_that_the_graph_resolves() -> None:
    assert settled(Skill(3, 0.8), 1e-9) == pytest.approx(0.8)
    assert settled(Skill(3, 0.8), 0.25 * math.log(3)) == pytest.approx(0.6)
    assert settled(Skill(3, 0.8), math.log(3)) == pytest.approx(0.0, abs=1e-6)
    assert settled(Skill(3, 0.8), 5.0) == 0.0


def test_a_batch_that_tells_nothing_leaves_it_as_it_was() -> None:
    skill = Skill(3, 0.8)
    nothing = [(1e-9, torch.tensor([1, 1, 1])), (1e-9, torch.full((4,), -100)), (0.0, LABELS)]
    assert [settled(skill, *each) for each in nothing] == [0.0] * 3
    settled(skill, 1e-9)
    assert [settled(skill, *each) for each in nothing] == pytest.approx([0.8] * 3)


def test_it_begins_at_nothing_and_follows() -> None:
    skill = Skill(3, 1.0)
    weights = [float(skill.weight(torch.tensor(1e-9), LABELS)) for _ in range(3)]
    assert weights == pytest.approx([0.0, 1.0 - KEPT, 1.0 - KEPT**2])


def test_classes_weigh_as_in_the_graph_loss() -> None:
    weights, labels = torch.tensor([9.0, 1.0]), torch.tensor([0, 1, 1, 1])
    shares = torch.tensor([0.25, 0.75])
    nothing = float((weights * shares * -shares.log()).sum() / (weights * shares).sum())
    assert settled(Skill(2, 1.0, weights), 0.5 * nothing, labels) == pytest.approx(0.5)


def test_the_sum_takes_it_and_a_checkpoint_keeps_it() -> None:
    torch.manual_seed(0)
    labels = torch.tensor([0, 1, 2] * 6)
    points = torch.eye(3)[labels] + 0.05 * torch.randn(18, 3)
    logits = torch.randn(18, 3)

    def loss_of(gloss: GLossConfig) -> CombinedLoss:
        return CombinedLoss("gloss", 3, gloss=gloss, metric=MetricConfig())

    gloss = GLossConfig(graph_weighting="skill", graph_weight=0.5, bandwidth="0.25")
    loss, again = loss_of(gloss), loss_of(gloss)
    for step in range(5):
        total, parts = loss(logits, points, labels, step=step, epoch=0)
        weight = loss.weights["graph_loss"]
        torch.testing.assert_close(total, weight * parts["graph_loss"] + (1.0 - weight) * parts["ce_loss"])
    assert 0.1 < float(weight) < 0.5
    again.go_on(loss.progress())
    following = [each(logits, points, labels, step=5, epoch=0)[0] for each in (loss, again)]
    assert torch.equal(*following)


def test_a_graph_that_knows_nothing_leaves_cross_entropy_alone() -> None:
    labels = torch.tensor([0, 1] * 9)
    points = torch.ones(18, 4)  # all alike
    logits = torch.randn(18, 2)
    gloss = GLossConfig(graph_weighting="skill", graph_weight=0.7, masking="folds", labelled_fraction=0.5)
    loss = CombinedLoss("gloss", 2, gloss=gloss, metric=MetricConfig())
    for step in range(5):
        total, parts = loss(logits, points, labels, step=step, epoch=0)
        torch.testing.assert_close(total, parts["ce_loss"], atol=2e-3, rtol=0)


def test_the_log_tells_it(encoders: dict[str, Path], tmp_path: Path) -> None:
    gloss = {"graph_weighting": "skill", "graph_weight": 0.7}
    trainer = make(encoders["bert"], tmp_path, max_steps=4, logging_steps=1, save_strategy="no", gloss=gloss)
    trainer.train()
    weights = [entry["graph_weight"] for entry in trainer.state.log_history if "graph_weight" in entry]
    assert weights[0] == 0.0
    assert all(0.0 <= weight < 0.7 for weight in weights)


@pytest.mark.parametrize("settings", [{"graph_weighting": "luck"}, {"objective": "released"}])
def test_what_makes_no_sense_is_refused(settings: dict) -> None:
    with pytest.raises(InputError, match="graph_weighting"):
        GLossConfig(**{"graph_weighting": "skill"} | settings)
