"""What the page draws."""

from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.metrics import f1_score

from graphloss.report.intervals import intervals
from graphloss.report.moments import batch_graphs
from graphloss.report.places import places


def classes(documents: int, spread: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    labels = generator.integers(0, 3, documents)
    return np.eye(3, 8)[labels] + spread * generator.normal(size=(documents, 8)), labels


def test_both_moments_lie_on_one_map_and_classes_lie_together() -> None:
    after, labels = classes(150, 0.05)
    before, _ = classes(150, 0.05, seed=0)
    found = places(after, before)
    assert np.abs(found["after"] - found["before"]).max() <= 25  # the same points; t-SNE sets twins a hair apart
    centres = np.stack([found["after"][labels == label].mean(axis=0) for label in range(3)])
    nearest = np.linalg.norm(found["after"][:, None] - centres, axis=2).argmin(axis=1)
    assert (nearest == labels).mean() > 0.95
    assert min(values.min() for values in found.values()) == 0
    assert max(values.max() for values in found.values()) == 1_000


@pytest.mark.parametrize("documents", [1, 3, 5])
def test_a_few_documents_have_places(documents: int) -> None:
    found = places(np.random.default_rng(0).normal(size=(documents, 4)), None)
    assert found["after"].shape == (documents, 2)


def test_documents_beyond_the_sample_lie_among_their_like(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("graphloss.report.places.ANCHORS", 60)
    points, labels = classes(300, 0.05)
    found = places(points, None)["after"]
    centres = np.stack([found[labels == label].mean(axis=0) for label in range(3)])
    assert (np.linalg.norm(found[:, None] - centres, axis=2).argmin(axis=1) == labels).mean() > 0.95


def test_intervals_hold_the_score_and_shrink_with_documents() -> None:
    generator = np.random.default_rng(0)
    widths = []
    for size in (100, 10_000):
        labels = generator.integers(0, 4, size)
        given = np.where(generator.random(size) < 0.8, labels, generator.integers(0, 4, size))
        found = intervals(labels, given, 4)
        for name, value in (
            ("accuracy", (labels == given).mean()),
            ("macro_f1", f1_score(labels, given, average="macro")),
        ):
            low, high = found[name]
            assert low < value < high
            assert (low + high) / 2 == pytest.approx(value, abs=0.02)
        widths.append(found["accuracy"][1] - found["accuracy"][0])
    assert widths[1] == pytest.approx(widths[0] / 10, rel=0.3)


def test_the_graph_of_a_batch_says_what_stays_inside_the_classes(tmp_path: Path) -> None:
    early, labels = classes(40, 1.0)
    late = np.eye(3, 8)[labels] + 0.01 * torch.randn(40, 8, generator=torch.manual_seed(0)).numpy()
    labels[0] = -1
    np.save(tmp_path / "rows.npy", np.arange(40))
    for step, points in ((0, early), (10, late), (20, late)):
        np.save(tmp_path / f"step-{step:08}.npy", points.astype(np.float16))
    found = batch_graphs(tmp_path, labels)
    assert found is not None
    assert found["labels"] == sorted(labels[labels >= 0].tolist())
    assert [moment["step"] for moment in found["moments"]] == [0, 10, 20]
    first, *_, last = found["moments"]
    assert last["inside"] > first["inside"] + 0.2
    assert len(last["shares"]) == 39**2
    assert max(last["shares"]) == 255
    assert all(first < second for first, second in last["edges"])
    assert batch_graphs(tmp_path / "nothing", labels) is None
