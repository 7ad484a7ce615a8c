import numpy as np
import pytest
import torch
from torch import Tensor

from graphloss import GLoss
from graphloss.graph import bandwidth_dicm, bandwidth_sqrt, propagate, propagation_loss, split_batch


def batch(documents: int = 32, classes: int = 4, dimension: int = 16, seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(documents) % classes
    embeddings = torch.randn(classes, dimension, generator=generator)[labels]
    return embeddings + torch.randn(documents, dimension, generator=generator), labels


def test_is_propagation_over_the_mask_of_seed_and_step() -> None:
    embeddings, labels = batch()
    loss = GLoss(4, bandwidth=0.6, seed=5)
    loss.step = 7
    got = loss(embeddings, labels)
    generator = torch.Generator().manual_seed(5 * 1_000_003 + 7)
    [(labelled, masked)] = split_batch(labels, 0.7, "stratified", generator)
    propagated = propagate(embeddings, labels, labelled, masked, num_labels=4, bandwidth=0.6, teleport=1e-4)
    torch.testing.assert_close(got, propagation_loss(propagated, labels[masked]))
    assert loss.step == 8


def test_the_mask_changes_with_the_step_and_not_in_evaluation() -> None:
    embeddings, labels = batch()
    loss = GLoss(4)
    assert loss(embeddings, labels) != loss(embeddings, labels)
    loss.eval()
    assert loss(embeddings, labels) == loss(embeddings, labels)


@pytest.mark.parametrize("rule", ["sqrt", "dicm"])
def test_rules_compute_the_width_from_the_batch(rule: str) -> None:
    embeddings, labels = batch()
    loss = GLoss(4, bandwidth=rule).eval()
    by_rule = loss(embeddings, labels)
    width = bandwidth_sqrt(embeddings) if rule == "sqrt" else bandwidth_dicm(embeddings, labels)
    assert loss.diagnostics["bandwidth"] == pytest.approx(width)
    torch.testing.assert_close(by_rule, GLoss(4, bandwidth=width).eval()(embeddings, labels))


def test_descending_it_separates_the_classes() -> None:
    embeddings, labels = batch()
    embeddings.requires_grad_()
    optimizer = torch.optim.Adam([embeddings], lr=0.05)
    loss = GLoss(4)
    values = []
    for _ in range(60):
        optimizer.zero_grad()
        value = loss(embeddings, labels)
        value.backward()
        optimizer.step()
        values.append(value.item())
    assert np.mean(values[-5:]) < 0.5 * np.mean(values[:5])
    unit = torch.nn.functional.normalize(embeddings.detach())
    similarity = unit @ unit.T
    same = (labels[:, None] == labels) & ~torch.eye(32, dtype=torch.bool)
    assert similarity[same].min() > similarity[labels[:, None] != labels].max()


def test_documents_without_a_label_are_nodes() -> None:
    """They change what is propagated, receive gradients, and are counted."""
    embeddings, labels = batch()
    hidden = labels.clone()
    hidden[:8] = -100
    embeddings.requires_grad_()
    loss = GLoss(4, bandwidth=0.7)
    loss(embeddings, hidden).backward()
    assert embeddings.grad is not None
    assert (embeddings.grad[:8].abs().sum(1) > 0).all()
    assert loss.diagnostics["unlabelled"] == 8
    assert loss.diagnostics["labelled"] + loss.diagnostics["masked"] == 24
    loss.step = 0
    assert loss(embeddings, hidden) != loss(embeddings[8:], labels[8:])


def test_orphans_are_counted_and_left_out() -> None:
    embeddings, _ = batch(8)
    labels = torch.arange(8)
    loss = GLoss(8, masking="random")
    value = loss(embeddings.requires_grad_(), labels)
    assert value.item() == 0.0
    value.backward()
    assert loss.diagnostics["orphans"] == loss.diagnostics["masked"] == 2
    assert loss.diagnostics["evaluated"] == 0


@pytest.mark.parametrize("labels", [[0], [-100], [-100, -100], [], [0, -100]])
def test_a_batch_that_teaches_nothing_costs_a_connected_zero(labels: list[int]) -> None:
    embeddings = torch.randn(len(labels), 4, requires_grad=True)
    value = GLoss(2)(embeddings, torch.tensor(labels, dtype=torch.int64))
    value.backward()
    assert value.item() == 0.0
    assert embeddings.grad is not None
    assert embeddings.grad.abs().sum() == 0.0


@pytest.mark.parametrize("objective", ["nll", "released", "released-combined"])
@pytest.mark.parametrize("transition", ["row", "released", "column"])
def test_every_form_gives_finite_gradients(objective: str, transition: str) -> None:
    embeddings, labels = batch()
    embeddings.requires_grad_()
    weights = torch.tensor([1.0, 2.0, 0.5, 1.0])
    loss = GLoss(4, objective=objective, transition=transition, class_weights=weights)
    loss(embeddings, labels).backward()
    assert embeddings.grad is not None
    assert torch.isfinite(embeddings.grad).all()
    assert embeddings.grad.abs().sum() > 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"bandwidth": 0.0}, "bandwidth"),
        ({"bandwidth": float("nan")}, "bandwidth"),
        ({"bandwidth": "wide"}, "bandwidth"),
        ({"labelled_fraction": 1.2}, "labelled_fraction"),
        ({"teleport": -0.1}, "teleport"),
        ({"transition": "softmax"}, "transition"),
        ({"masking": "none"}, "masking"),
        ({"objective": "mse"}, "objective"),
        ({"class_weights": torch.ones(3)}, "class_weights"),
    ],
)
def test_refuses_what_is_undefined_when_it_is_made(arguments: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        GLoss(2, **arguments)


def test_refuses_labels_out_of_range() -> None:
    with pytest.raises(ValueError, match=r"\[0, 2\), found 5"):
        GLoss(2)(torch.randn(3, 4), torch.tensor([0, 1, 5]))
