"""The silhouette, averaged over classes."""

import numpy as np
import pytest
from sklearn.metrics import silhouette_samples

from graphloss.evaluation.silhouette import macro_silhouette


def test_is_the_mean_over_classes_and_not_over_documents() -> None:
    random = np.random.default_rng(0)
    labels = np.array([0] * 20 + [1] * 4 + [-100] * 3)
    embeddings = random.normal(size=(27, 5)) + 2.0 * (labels == 0)[:, None]
    unit = embeddings / np.linalg.norm(embeddings, axis=1, keepdims=True)
    each = silhouette_samples(unit[:24], labels[:24])
    assert macro_silhouette(embeddings, labels) == pytest.approx((each[:20].mean() + each[20:].mean()) / 2)
    assert macro_silhouette(3.0 * embeddings, labels) == pytest.approx(macro_silhouette(embeddings, labels))


def test_nothing_to_compare_is_no_number() -> None:
    assert np.isnan(macro_silhouette(np.ones((3, 2)), np.array([0, 0, 0])))
    assert np.isnan(macro_silhouette(np.ones((3, 2)), np.array([0, 1, 2])))


def test_a_sample_of_many_is_close_and_the_same_twice() -> None:
    random = np.random.default_rng(0)
    labels = np.arange(5_000) % 2
    embeddings = random.normal(size=(5_000, 4)) + labels[:, None]
    found = macro_silhouette(embeddings, labels, seed=1)
    assert found == macro_silhouette(embeddings, labels, seed=1)
    unit = embeddings / np.linalg.norm(embeddings, axis=1, keepdims=True)
    assert found == pytest.approx(silhouette_samples(unit, labels).mean(), abs=0.02)
