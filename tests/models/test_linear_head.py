"""The linear head, and what it says of documents when it has not seen them."""

import numpy as np
import pytest
import torch
from torch import Tensor

from graphloss.models.linear_head import (
    FOLDS,
    SHRINKAGES,
    STRENGTHS,
    LinearHead,
    fit_by_adam,
    fit_linear_head,
    linear_fits,
)


def clusters(labels: list[int], spread: float = 0.1, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Around the axes, one for each class."""
    generator = torch.Generator().manual_seed(seed)
    classes = torch.tensor(labels)
    return torch.eye(6)[classes] + spread * torch.randn(len(labels), 6, generator=generator), classes


def test_separable_classes_are_learned() -> None:
    embeddings, labels = clusters([0, 1, 2] * 10)
    head = fit_linear_head(embeddings, labels, 3)
    new, truth = clusters([2, 0, 1] * 10, seed=1)
    assert torch.equal(head.logits(new).argmax(1), truth)
    assert torch.equal(head.left_out.argmax(1), labels)
    assert (head.weight.shape, head.bias.shape, head.left_out.shape) == ((3, 6), (3,), (30, 3))


def test_a_head_without_a_bias() -> None:
    embeddings, labels = clusters([0, 1, 2] * 10)
    head = fit_linear_head(embeddings, labels, 3, bias=False)
    assert not head.bias.any()
    assert torch.equal((embeddings @ head.weight.T).argmax(1), labels)


def test_logits_by_hand() -> None:
    head = LinearHead(torch.tensor([[1.0, 2.0], [0.0, -1.0]]), torch.tensor([0.5, 0.0]), torch.zeros(0, 2))
    assert head.logits(torch.tensor([[1.0, 1.0], [0.0, 3.0]], dtype=torch.bfloat16)).tolist() == [
        [3.5, -1.0],
        [6.5, -3.0],
    ]


def test_a_wrong_label_is_judged_by_its_neighbours_when_it_is_left_out() -> None:
    embeddings, labels = clusters([0, 1, 2] * 12)
    given = labels.clone()
    given[7], given[20] = 0, 1
    head = fit_linear_head(embeddings, given, 3)
    assert torch.equal(head.left_out.argmax(1), labels)
    assert not torch.equal(head.left_out, head.logits(embeddings))


def test_a_head_that_has_not_seen_a_document_knows_nothing_of_a_direction_of_its_own() -> None:
    """Each document has an axis to itself, on which other documents teach nothing: only the biases are left."""
    labels = torch.arange(30) % 3
    head = fit_linear_head(torch.eye(30), labels, 3)
    assert torch.equal(head.logits(torch.eye(30)).argmax(1), labels)
    assert len({tuple(row) for row in head.left_out.tolist()}) == FOLDS


def test_two_classes() -> None:
    embeddings, labels = clusters([0, 1] * 10)
    head = fit_linear_head(embeddings, labels, 2)
    assert torch.equal(head.logits(embeddings).argmax(1), labels)
    assert torch.equal(head.left_out.argmax(1), labels)
    torch.testing.assert_close(head.weight[0], -head.weight[1])
    torch.testing.assert_close(head.bias[0], -head.bias[1])


def test_probabilities_of_two_classes_are_those_of_logistic_regression() -> None:
    from sklearn.linear_model import LogisticRegression

    embeddings, labels = clusters([0, 1] * 20, spread=1.0)
    points = embeddings / embeddings.square().sum(1).mean().sqrt()
    head = fit_linear_head(embeddings, labels, 2)
    got = torch.softmax(head.logits(embeddings), dim=1).numpy()
    candidates = [
        LogisticRegression(C=strength, tol=1e-6, max_iter=3000).fit(points.numpy(), labels.numpy())
        for strength in (1.0, 10.0, 100.0)
    ]
    off = [np.abs(candidate.predict_proba(points.numpy()) - got).max() for candidate in candidates]
    assert min(off) < 1e-3


@pytest.mark.parametrize("present", [[0, 2], [1, 2, 4], [3]])
def test_classes_without_a_document_are_never_predicted(present: list[int]) -> None:
    embeddings, labels = clusters(present * 8)
    head = fit_linear_head(embeddings, labels, 6)
    anywhere = 5.0 * torch.randn(200, 6, generator=torch.Generator().manual_seed(2))
    for logits in (head.logits(anywhere), head.left_out):
        assert set(logits.argmax(1).tolist()) <= set(present)
    assert torch.equal(head.left_out.argmax(1), labels)


def test_a_class_of_one_is_never_predicted_for_its_only_member() -> None:
    embeddings, labels = clusters([0] * 10 + [1] * 10 + [2])
    head = fit_linear_head(embeddings, labels, 3)
    assert int(head.left_out[20].argmax()) != 2
    assert int(head.logits(embeddings)[20].argmax()) == 2


def test_documents_without_a_label_teach_nothing_and_get_logits_of_the_head() -> None:
    embeddings, labels = clusters([0, 1, 2] * 10)
    hidden = labels.clone()
    hidden[[3, 11, 12]] = -100
    head = fit_linear_head(embeddings, hidden, 3)
    known = hidden >= 0
    without = fit_linear_head(embeddings[known], labels[known], 3)
    torch.testing.assert_close(head.weight, without.weight)
    torch.testing.assert_close(head.left_out[known], without.left_out)
    assert torch.equal(head.left_out[~known], head.logits(embeddings)[~known])


@pytest.mark.parametrize("factor", [1000.0, 0.001])
def test_the_length_of_embeddings_does_not_matter(factor: float) -> None:
    embeddings, labels = clusters([0, 1, 2] * 12, spread=0.6)
    head, scaled = fit_linear_head(embeddings, labels, 3), fit_linear_head(factor * embeddings, labels, 3)
    torch.testing.assert_close(scaled.logits(factor * embeddings), head.logits(embeddings), atol=1e-3, rtol=1e-3)
    torch.testing.assert_close(scaled.left_out, head.left_out, atol=1e-3, rtol=1e-3)


def test_fits_end_at_the_optimum() -> None:
    from sklearn.linear_model import LogisticRegression

    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(200) % 4
    embeddings = torch.randn(4, 40, generator=generator)[labels] + torch.randn(200, 40, generator=generator)
    embeddings = 1.0 + embeddings * torch.logspace(0, -2, 40)  # most have much in common, and little in some directions
    points = (embeddings / embeddings.square().sum(1).mean().sqrt()).double().numpy()
    for strength, head in zip(STRENGTHS, linear_fits(embeddings, labels, 4).regressions, strict=True):
        best = LogisticRegression(C=strength, tol=1e-9, max_iter=20_000).fit(points, labels.numpy())
        assert np.abs(head.logits(embeddings).numpy() - best.decision_function(points)).max() < 0.02


def test_embeddings_of_length_zero_teach_the_class_shares() -> None:
    head = fit_linear_head(torch.zeros(20, 6), torch.tensor([0] * 15 + [1] * 5), 2)
    shares = torch.softmax(head.logits(torch.zeros(1, 6)), dim=1)
    torch.testing.assert_close(shares, torch.tensor([[0.75, 0.25]]), atol=1e-2, rtol=0.0)


def test_strong_regularization_is_chosen_where_embeddings_say_nothing() -> None:
    generator = torch.Generator().manual_seed(0)
    noise, labels = torch.randn(60, 40, generator=generator), torch.arange(60) % 3
    head = fit_linear_head(noise, labels, 3)
    loss = torch.nn.functional.cross_entropy(head.left_out, labels)
    assert float(loss) < 1.5  # an even guess costs log 3 = 1.1


def test_the_probe_by_adam_learns_and_keeps_its_best_epoch() -> None:
    """Wide embeddings, whose first weights are small, and many of them: a step moves a weight by 1e-4."""
    wide = torch.nn.ZeroPad2d((0, 90, 0, 0))
    embeddings, labels = clusters([0, 1, 2] * 4000)
    checking, truth = clusters([2, 0, 1] * 10, seed=1)
    embeddings = wide(torch.cat([embeddings, torch.full((1, 6), 9.0)]))
    labels = torch.cat([labels, torch.tensor([-100])])
    head = fit_by_adam(embeddings, labels, 3, wide(checking), truth, seed=0)
    assert float((head.logits(wide(checking)).argmax(1) == truth).double().mean()) > 0.9
    assert head.left_out.shape == (12_001, 3)
    again = fit_by_adam(embeddings, labels, 3, wide(checking), truth, seed=0)
    assert torch.equal(head.weight, again.weight)
    assert not head.weight.requires_grad


def test_heads_to_choose_from_know_small_classes_and_classes_without_a_document() -> None:
    embeddings, labels = clusters([0] * 10 + [2] * 10 + [4])
    hidden = torch.cat([labels[:-1], torch.tensor([-100])])
    fits = linear_fits(embeddings + 10.0, hidden, 6)
    assert (len(fits.regressions), len(fits.discriminants)) == (len(STRENGTHS), len(SHRINKAGES))
    heads = fits.regressions + fits.discriminants
    new, truth = clusters([2, 0] * 10, seed=1)
    for head in heads[1:]:
        assert torch.equal(head.logits(new + 10.0).argmax(1), truth)
        logits = head.logits(embeddings[:-1] + 10.0)
        assert torch.equal(logits.argmax(1), labels[:-1])
        assert torch.softmax(logits / 20.0, dim=1)[:, [1, 3, 4, 5]].max() < 1e-9
    for fits in (
        linear_fits(embeddings[:20], hidden[:20], 6, bias=False),
        linear_fits(*clusters([0, 2]), 6),  # each document a class of its own
    ):
        assert (len(fits.regressions), len(fits.discriminants)) == (len(STRENGTHS), 0)


@pytest.mark.parametrize("present", [[0, 2], [1, 2, 4]])
def test_discriminants_are_those_of_scikit_learn(present: list[int]) -> None:
    from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

    embeddings, labels = clusters([*present * 8, present[0]], spread=0.5)
    points = (embeddings / embeddings.square().sum(1).mean().sqrt()).double().numpy()
    model = LinearDiscriminantAnalysis(solver="lsqr", shrinkage=SHRINKAGES[0]).fit(points, labels.numpy())
    found = torch.softmax(linear_fits(embeddings, labels, 6).discriminants[0].logits(embeddings), dim=1)
    assert np.abs(found[:, present].numpy() - model.predict_proba(points)).max() < 1e-4
