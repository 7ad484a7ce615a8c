"""Probes in closed form, against probes that are fitted anew without each document."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import log_softmax
from torch import Tensor

from graphloss.models import probes
from graphloss.models.probes import lda_left_out, ridge_left_out

Probe = Callable[[Tensor, Tensor, int], Tensor]
PROBES = [ridge_left_out, lda_left_out]


def clusters(labels: list[int], dimension: int = 5, spread: float = 0.7, seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    centres = torch.randn(max(labels) + 1, dimension, generator=generator)
    classes = torch.tensor(labels)
    return centres[classes] + spread * torch.randn(len(labels), dimension, generator=generator), classes


def ridge_without_each(embeddings: Tensor, labels: Tensor, classes: int, ridge: float, sharpness: float) -> np.ndarray:
    """Least squares with an intercept that is not penalized, once for each document; the penalty is that of them all.

    It is fitted as plain least squares to the documents and to d more, that ask for small weights.
    """
    points, targets = embeddings.double().numpy(), np.eye(classes)[labels.numpy()]
    documents, dimension = points.shape
    penalty = ridge * np.square(points - points.mean(axis=0)).sum()
    design = np.hstack([points, np.ones((documents, 1))])
    small = np.hstack([np.sqrt(penalty) * np.eye(dimension), np.zeros((dimension, 1))])
    left_out = []
    for row in range(documents):
        others = np.arange(documents) != row
        known = np.vstack([design[others], small])
        wanted = np.vstack([targets[others], np.zeros((dimension, classes))])
        left_out.append(design[row] @ np.linalg.lstsq(known, wanted)[0])
    return log_softmax(sharpness * np.array(left_out), axis=1)


def lda_without_each(
    embeddings: Tensor, labels: Tensor, classes: int, shrinkage: float, sharpness: float
) -> np.ndarray:
    """Means and scatter of the others; the divisor and the scale that is shrunk to are those of all documents."""
    points, truth = embeddings.double().numpy(), labels.numpy()
    documents, dimension = points.shape

    def scatter(rows: np.ndarray) -> np.ndarray:
        total = np.zeros((dimension, dimension))
        for label in np.unique(truth[rows]):
            deviations = points[rows & (truth == label)]
            deviations = deviations - deviations.mean(axis=0)
            total += deviations.T @ deviations / documents
        return total

    target = np.trace(scatter(np.full(documents, True))) / dimension * np.eye(dimension)
    logits = np.full((documents, classes), -np.inf)
    for row in range(documents):
        others = np.arange(documents) != row
        inverse = np.linalg.inv((1 - shrinkage) * scatter(others) + shrinkage * target)
        counts = np.bincount(truth[others], minlength=classes)
        for label in np.flatnonzero(counts):
            off = points[row] - points[others & (truth == label)].mean(axis=0)
            prior = np.log((counts[label] + 0.5) / (counts + 0.5).sum())
            logits[row, label] = prior - 0.5 * sharpness * off @ inverse @ off
    return log_softmax(logits, axis=1)


LABELS = {
    "even": [0, 1, 2] * 8,
    "skewed": [0] * 20 + [1] * 5 + [2] * 3,
    "classes with one member": [0] * 9 + [1] * 6 + [2, 3],
    "two classes": [0, 1] * 7,
    "fewer documents than dimensions": [0, 1, 0, 1],
}


@pytest.mark.parametrize("case", LABELS)
@pytest.mark.parametrize("ridge", [1e-3, 1e-2])
def test_ridge_is_that_of_fits_without_each_document(case: str, ridge: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probes, "RIDGES", (ridge,))
    monkeypatch.setattr(probes, "RIDGE_SHARPNESS", (5.0,))
    embeddings, labels = clusters(LABELS[case])
    classes = max(LABELS[case]) + 1
    expected = ridge_without_each(embeddings, labels, classes, ridge, 5.0)
    np.testing.assert_allclose(ridge_left_out(embeddings, labels, classes).numpy(), expected, atol=5e-3)


@pytest.mark.parametrize("case", LABELS)
@pytest.mark.parametrize("shrinkage", [0.2, 0.7])
def test_lda_is_that_of_fits_without_each_document(
    case: str, shrinkage: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(probes, "SHRINKAGES", (shrinkage,))
    monkeypatch.setattr(probes, "LDA_SHARPNESS", (0.4,))
    embeddings, labels = clusters(LABELS[case])
    classes = max(LABELS[case]) + 1
    expected = lda_without_each(embeddings, labels, classes, shrinkage, 0.4)
    np.testing.assert_allclose(lda_left_out(embeddings, labels, classes).numpy(), expected, rtol=1e-3, atol=2e-3)


@settings(max_examples=25, deadline=None)
@given(
    st.lists(st.integers(0, 3), min_size=3, max_size=14).filter(lambda labels: len(set(labels)) > 1), st.integers(0, 9)
)
@pytest.mark.parametrize("probe", PROBES)
def test_every_row_is_a_distribution(probe: Probe, labels: list[int], seed: int) -> None:
    embeddings, classes = clusters(labels, seed=seed)
    got = probe(embeddings, classes, 5)
    assert not got.isnan().any()
    torch.testing.assert_close(got.exp().sum(1), torch.ones(len(labels)))


@pytest.mark.parametrize("probe", PROBES)
def test_the_likeliest_setting_is_taken(probe: Probe, monkeypatch: pytest.MonkeyPatch) -> None:
    grids = ("RIDGES", "RIDGE_SHARPNESS") if probe is ridge_left_out else ("SHRINKAGES", "LDA_SHARPNESS")
    embeddings, labels = clusters([0, 1, 2] * 10, spread=1.0)

    def likelihood() -> float:
        return float(probe(embeddings, labels, 3).gather(1, labels[:, None]).clamp_min(-probes.SURE).mean())

    chosen, one_by_one = likelihood(), []
    first, second = (getattr(probes, grid) for grid in grids)
    for strength in first:
        for sharpness in second:
            monkeypatch.setattr(probes, grids[0], (strength,))
            monkeypatch.setattr(probes, grids[1], (sharpness,))
            one_by_one.append(likelihood())
    assert chosen == pytest.approx(max(one_by_one), abs=1e-6)


@pytest.mark.parametrize("probe", PROBES)
def test_a_wrong_label_does_not_vouch_for_itself(probe: Probe) -> None:
    embeddings, labels = clusters([0, 1, 2] * 12, spread=0.1)
    given = labels.clone()
    given[4] = 0
    assert torch.equal(probe(embeddings, given, 3).argmax(1), labels)


@pytest.mark.parametrize("probe", PROBES)
def test_a_class_of_one_is_not_suggested_to_its_only_member(probe: Probe) -> None:
    embeddings, labels = clusters([0] * 9 + [1] * 9 + [2], spread=0.2)
    assert int(probe(embeddings, labels, 3)[18].argmax()) != 2


def test_a_constant_column_is_no_trouble(monkeypatch: pytest.MonkeyPatch) -> None:
    for grid, value in (("RIDGES", 1e-3), ("RIDGE_SHARPNESS", 5.0), ("SHRINKAGES", 0.5), ("LDA_SHARPNESS", 0.4)):
        monkeypatch.setattr(probes, grid, (value,))
    embeddings, labels = clusters([0, 1, 2] * 8)
    wider = torch.cat([embeddings, torch.full((24, 1), 3.0)], dim=1)
    ridge, lda = ridge_left_out(wider, labels, 3), lda_left_out(wider, labels, 3)
    torch.testing.assert_close(ridge, ridge_left_out(embeddings, labels, 3), atol=5e-3, rtol=1e-3)
    np.testing.assert_allclose(lda.numpy(), lda_without_each(wider, labels, 3, 0.5, 0.4), atol=2e-3, rtol=1e-3)


@pytest.mark.parametrize("probe", PROBES)
def test_classes_whose_members_coincide_are_told_apart(probe: Probe) -> None:
    embeddings, labels = clusters([0, 1, 2] * 8, spread=0.0)
    got = probe(embeddings, labels, 3)
    assert not got.isnan().any()
    assert torch.equal(got.argmax(1), labels)


@pytest.mark.parametrize("probe", PROBES)
def test_moving_all_documents_changes_nothing(probe: Probe) -> None:
    embeddings, labels = clusters([0, 1, 2] * 8)
    torch.testing.assert_close(probe(embeddings + 2.0, labels, 3), probe(embeddings, labels, 3), atol=2e-3, rtol=2e-3)


@pytest.mark.parametrize("entry", [1.0, 0.3, 0.0])
def test_identical_documents_get_the_largest_class_of_lda(entry: float) -> None:
    labels = torch.tensor([0] * 12 + [1] * 4)
    got = lda_left_out(torch.full((16, 5), entry), labels, 2)
    assert got.isfinite().all()
    assert (got.argmax(1) == 0).all()
