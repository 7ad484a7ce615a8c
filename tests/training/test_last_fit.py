"""Which linear head is taken after training, and which one evaluations score meanwhile."""

from itertools import product

import numpy as np
import pytest
import torch
from scipy.special import softmax
from torch import Tensor

from graphloss.evaluation.calibration import brier_score, fit_temperature
from graphloss.models.linear_head import fit_linear_head, linear_fits
from graphloss.training import last_fit
from graphloss.training.last_fit import MOST, SHARES, RunningFit, expecting, fit_after_training, teach

CLASSES, WIDTH = 4, 24


def documents(sizes: list[int], seed: int, noise: float) -> tuple[Tensor, Tensor]:
    """Around the mean of their class, spread out most where it says nothing of the class."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.repeat_interleave(torch.arange(CLASSES), torch.tensor(sizes))
    points = noise * torch.randn(len(labels), WIDTH, generator=generator)
    points[:, CLASSES:] *= 6.0
    return points + torch.nn.functional.one_hot(labels, WIDTH), labels


def test_both_kinds_of_head_are_mixed_as_the_brier_score_of_validation_documents_likes_best() -> None:
    points, labels = documents([200] * CLASSES, 0, noise=0.2)
    fits = linear_fits(points, labels, CLASSES)
    chosen = set()
    for noise in (0.2, 3.0):  # new documents like those of training, and others, of which less can be told
        checking, truth = documents([40] * CLASSES, 1, noise=noise)

        def calibrated(logits: np.ndarray) -> np.ndarray:
            return logits / fit_temperature(logits, truth.numpy())  # noqa: B023

        regressions, discriminants = ([calibrated(head.logits(checking).numpy()) for head in kind] for kind in fits)
        scores = {}
        for (first, one), (second, other) in product(enumerate(regressions), enumerate(discriminants)):
            for share in SHARES:
                logits = calibrated(share * one + (1.0 - share) * other)
                scores[first, second, share] = (brier_score(softmax(logits, axis=1), truth.numpy()), logits)
        best = min(scores, key=lambda which: scores[which][0])
        head = fit_after_training(points, labels, CLASSES, checking, truth)
        np.testing.assert_allclose(head.logits(checking), scores[best][1], rtol=1e-3, atol=1e-3)
        torch.testing.assert_close(head.left_out, head.logits(points), rtol=1e-4, atol=1e-4)
        assert abs(fit_temperature(head.logits(checking).numpy(), truth.numpy()) - 1.0) < 0.2
        chosen.add(best)
    assert len(chosen) == 2


def test_the_head_expects_the_class_shares_of_validation_documents() -> None:
    points, labels = documents([16] * CLASSES, 0, noise=0.5)
    checking, truth = documents([300, 60, 30, 10], 1, noise=0.5)
    new, classes = documents([600, 120, 60, 20], 2, noise=0.5)
    head = fit_after_training(points, labels, CLASSES, checking, truth)
    evenly = torch.cat([torch.nonzero(truth == label)[:10, 0] for label in range(CLASSES)])
    without = fit_after_training(points, labels, CLASSES, checking[evenly], truth[evenly])
    right, before = ((each.logits(new).argmax(dim=1) == classes).float().mean() for each in (head, without))
    assert right > before + 0.1
    assert abs(fit_temperature(head.logits(checking).numpy(), truth.numpy()) - 1.0) < 0.1
    frozen = fit_linear_head(points, labels, CLASSES)
    told = expecting(frozen, labels, checking, truth)
    right, before = ((each.logits(new).argmax(dim=1) == classes).float().mean() for each in (told, frozen))
    assert right > before + 0.1
    plain = fit_after_training(points, labels, CLASSES, checking, truth, bias=False)
    assert not plain.bias.any()  # where it could not be put


def test_without_a_bias_it_is_logistic_regression_alone() -> None:
    points, labels = documents([20] * CLASSES, 0, noise=0.2)
    head = fit_after_training(points, labels, CLASSES, points, labels, bias=False)
    assert not head.bias.any()
    ratios = [head.weight / fit.weight for fit in linear_fits(points, labels, CLASSES, bias=False).regressions]
    assert any(torch.allclose(ratio, ratio[0, 0]) for ratio in ratios)  # but for the temperature


def test_without_labels_to_check_by_folds_of_training_documents_choose() -> None:
    points, labels = documents([20] * CLASSES, 0, noise=0.2)
    found = fit_after_training(points, labels, CLASSES, points[:3], torch.full((3,), -100))
    torch.testing.assert_close(found.weight, fit_linear_head(points, labels, CLASSES).weight)


def few_labels() -> tuple[Tensor, Tensor, Tensor]:
    """Documents, their classes, and which of these are known: four of each."""
    points, truth = documents([100] * CLASSES, 0, noise=0.5)
    return points, truth, truth.where(torch.arange(len(truth)) % 100 < 4, -100)


def test_documents_without_a_label_teach_what_is_thought_of_them() -> None:
    points, truth, labels = few_labels()
    checking, checked = documents([20] * CLASSES, 1, noise=0.5)
    new, classes = documents([200] * CLASSES, 2, noise=0.5)
    alone = fit_after_training(points, labels, CLASSES, checking, checked)
    wrong = torch.rand(len(truth), generator=torch.Generator().manual_seed(0)) < 0.2
    opinions = 0.8 * torch.nn.functional.one_hot((truth + wrong) % CLASSES, CLASSES) + 0.05
    taught = teach(alone, points, labels, opinions, checking, checked)
    right, before = ((head.logits(new).argmax(dim=1) == classes).float().mean() for head in (taught, alone))
    assert right > before + 0.1
    torch.testing.assert_close(taught.left_out, taught.logits(points), rtol=1e-4, atol=1e-4)
    assert abs(fit_temperature(taught.logits(checking).numpy(), checked.numpy()) - 1.0) < 0.2
    opinions[labels >= 0] = 9.0  # of these the label is known
    torch.testing.assert_close(teach(alone, points, labels, opinions, checking, checked).weight, taught.weight)


def test_of_very_many_documents_without_a_label_some_of_every_sureness_teach(monkeypatch: pytest.MonkeyPatch) -> None:
    points, truth, labels = few_labels()
    checking, checked = documents([20] * CLASSES, 1, noise=0.5)
    alone = fit_after_training(points, labels, CLASSES, checking, checked)
    sureness = torch.rand(len(truth), 1, generator=torch.Generator().manual_seed(0)) / 2 + 0.5
    opinions = torch.nn.functional.one_hot(truth, CLASSES) * sureness
    monkeypatch.setattr(last_fit, "TEACHERS", 100)
    some = teach(alone, points, labels, opinions, checking, checked)
    by_sureness = opinions.amax(dim=1).masked_fill(labels >= 0, 0.0).argsort(descending=True)[:384]
    left_out = torch.ones(len(truth), dtype=torch.bool).index_fill(0, by_sureness[::4], False)
    monkeypatch.setattr(last_fit, "TEACHERS", 1000)
    again = teach(alone, points, labels, opinions.masked_fill(left_out[:, None], 0.0), checking, checked)
    torch.testing.assert_close(some.weight, again.weight)


def test_those_of_whom_nothing_is_thought_do_not_teach_and_nonsense_is_not_taken() -> None:
    points, truth, labels = few_labels()
    checking, checked = documents([50] * CLASSES, 1, noise=0.5)
    alone = fit_after_training(points, labels, CLASSES, checking, checked)
    assert teach(alone, points, labels, torch.zeros(len(labels), CLASSES), checking, checked) is alone
    shuffled = torch.nn.functional.one_hot((truth + 1) % CLASSES, CLASSES).float()
    taken = teach(alone, points, labels, shuffled, checking, checked)
    new, classes = documents([200] * CLASSES, 2, noise=0.5)
    right, before = ((head.logits(new).argmax(dim=1) == classes).float().mean() for head in (taken, alone))
    assert right > before - 0.02


def test_the_surest_teach_alone_where_validation_documents_like_that_better() -> None:
    points, truth, labels = few_labels()
    checking, checked = documents([200] * CLASSES, 1, noise=0.5)
    alone = fit_after_training(points, labels, CLASSES, checking, checked)
    wrong = torch.rand(len(truth), generator=torch.Generator().manual_seed(0)) < 0.3
    opinions = torch.nn.functional.one_hot((truth + wrong) % CLASSES, CLASSES).float()
    opinions = opinions * torch.where(wrong, 0.4, 0.9)[:, None]  # it knows what it does not know

    def score(sure: Tensor) -> float:
        head = teach(alone, points, labels, opinions * sure[:, None], checking, checked)
        return brier_score(softmax(head.logits(checking).numpy(), axis=1), checked.numpy())

    everyone = torch.ones(len(truth))
    assert score(everyone) < score(torch.where(wrong, 1.0, 0.5)) + 1e-6
    assert score(everyone) < brier_score(softmax(alone.logits(checking).numpy(), axis=1), checked.numpy()) - 0.05


def test_the_head_of_an_evaluation_is_fitted_to_what_the_steps_since_the_last_one_saw() -> None:
    points, labels = documents([30] * CLASSES, 0, noise=0.1)
    checking, truth = documents([20] * CLASSES, 1, noise=0.1)
    running = RunningFit(CLASSES)
    assert running.logits(checking, truth) is None
    running.see(points[:4], torch.full((4,), -100))
    assert running.logits(checking, truth) is None
    for rows in torch.randperm(len(points)).split(40):
        running.see(3.0 * points[rows], labels[rows])
    found = running.logits(checking, truth)
    assert (found.argmax(dim=1) == truth).float().mean() > 0.9
    resumed = RunningFit(CLASSES)
    resumed.go_on(running.progress())
    for each in (running, resumed):
        torch.testing.assert_close(each.logits(5.0 * checking, truth), found)  # asked again, and of another length
    for each in (running, resumed):
        each.see(points, (labels + 1) % CLASSES)  # as if all had changed since
        assert (each.logits(checking, truth).argmax(dim=1) == (truth + 1) % CLASSES).float().mean() > 0.9


def test_of_many_documents_a_step_apart_the_last_ones_count() -> None:
    points, labels = documents([256] * CLASSES, 0, noise=0.1)
    checking, truth = documents([20] * CLASSES, 1, noise=0.1)
    running = RunningFit(CLASSES)
    for shift in [1] + [0] * (MOST // len(points)):
        running.see(points, (labels + shift) % CLASSES)
    again = RunningFit(CLASSES)
    for _ in range(MOST // len(points)):
        again.see(points, labels)
    assert torch.equal(running.logits(checking, truth), again.logits(checking, truth))


def test_the_order_of_documents_which_processes_change_does_not_matter() -> None:
    points, labels = documents([30] * CLASSES, 0, noise=0.4)
    checking, truth = documents([20] * CLASSES, 1, noise=0.4)
    found = []
    for order in (torch.arange(len(points)), torch.arange(len(points)).flip(0)):
        running = RunningFit(CLASSES)
        running.see(points[order], labels[order])
        found.append(running.logits(checking, truth))
    assert torch.equal(*found)
