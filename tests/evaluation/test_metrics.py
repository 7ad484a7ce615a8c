import numpy as np
import pytest

from graphloss.evaluation.metrics import classification_metrics, scores_by_class, softmax


def test_scores_by_hand_with_unlabelled_rows_left_out() -> None:
    probabilities = np.array([[0.8, 0.2], [0.6, 0.4], [0.1, 0.9], [0.5, 0.5]])
    scores = classification_metrics(probabilities, np.array([0, 1, 1, -100]))
    assert scores["n"] == 3
    assert scores["accuracy"] == pytest.approx(2 / 3)
    assert scores["macro_f1"] == pytest.approx(2 / 3)
    assert scores["micro_f1"] == pytest.approx(2 / 3)
    assert scores["nll"] == pytest.approx(-np.log([0.8, 0.4, 0.9]).mean())
    assert classification_metrics(probabilities[3:], np.array([-100])) == {"n": 0}


def test_softmax_of_large_logits() -> None:
    np.testing.assert_allclose(softmax(np.array([[1000.0, 1000.0 + np.log(3)]])), [[0.25, 0.75]])


def test_scores_of_each_class_by_hand() -> None:
    found = scores_by_class(np.array([0, 0, 1, 1, 2]), np.array([0, 1, 1, -100, 1]), ["a", "b", "c", "d"])
    assert found["a"] == {"precision": 0.5, "recall": 1.0, "f1": pytest.approx(2 / 3), "n": 1}
    assert found["b"] == {"precision": 1.0, "recall": pytest.approx(1 / 3), "f1": 0.5, "n": 3}
    assert found["c"] == found["d"] == {"precision": 0.0, "recall": 0.0, "f1": 0.0, "n": 0}
