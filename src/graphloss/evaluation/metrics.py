"""Scores of predicted classes."""

import numpy as np
from jaxtyping import Float, Int

from graphloss.evaluation.calibration import expected_calibration_error


def classification_metrics(
    probabilities: Float[np.ndarray, "n C"], labels: Int[np.ndarray, " n"]
) -> dict[str, float | int]:
    """Scores of predictions, as fractions from 0 to 1.

    Args:
        probabilities: (n, C), rows sum to one.
        labels: (n,) true classes; rows labelled -100 are left out.

    Returns:
        accuracy; macro_f1, the mean of the F1 of the classes that occur among labels or predictions, as scikit-learn
        takes it; micro_f1, which with one label a document is the accuracy; nll, the mean negative log-likelihood in
        nats; ece, the expected calibration error; n, the number of documents scored.
    """
    from sklearn.metrics import accuracy_score, f1_score, log_loss  # not before: a run should start without it

    known = labels != -100
    probabilities, labels = probabilities[known], labels[known]
    if len(labels) == 0:
        return {"n": 0}
    predictions = probabilities.argmax(axis=1)
    return {
        "accuracy": float(accuracy_score(labels, predictions)),
        "macro_f1": float(f1_score(labels, predictions, average="macro", zero_division=0)),
        "micro_f1": float(f1_score(labels, predictions, average="micro")),
        "nll": float(log_loss(labels, probabilities, labels=np.arange(probabilities.shape[1]))),
        "ece": expected_calibration_error(probabilities, labels),
        "n": len(labels),
    }


def scores_by_class(
    predictions: Int[np.ndarray, " n"], labels: Int[np.ndarray, " n"], names: list[str]
) -> dict[str, dict[str, float | int]]:
    """Precision, recall and F1 of each class, and the number of its documents.

    Args:
        predictions: (n,) classes.
        labels: (n,) true classes; rows labelled -100 are left out.
        names: of the C classes.
    """
    from sklearn.metrics import precision_recall_fscore_support  # not before: a run should start without it

    known = labels != -100
    found = precision_recall_fscore_support(
        labels[known], predictions[known], labels=np.arange(len(names)), zero_division=0
    )
    columns = {"precision": found[0], "recall": found[1], "f1": found[2]}
    return {
        name: {key: float(values[row]) for key, values in columns.items()} | {"n": int(found[3][row])}
        for row, name in enumerate(names)
    }


def softmax(logits: Float[np.ndarray, "n C"]) -> Float[np.ndarray, "n C"]:
    """Probabilities of logits, in float64."""
    shifted = logits.astype(np.float64) - logits.max(axis=1, keepdims=True)
    exponentials = np.exp(shifted)
    return exponentials / exponentials.sum(axis=1, keepdims=True)


def separation(inside: Float[np.ndarray, " n"], outside: Float[np.ndarray, " m"]) -> float:
    """How well a score tells documents of the known classes from others: the probability that one of the former has
    the higher score (AUROC); 0.5 is chance."""
    from sklearn.metrics import roc_auc_score  # when first asked for: a run should start without it

    known = np.concatenate([np.ones(len(inside)), np.zeros(len(outside))])
    return float(roc_auc_score(known, np.concatenate([inside, outside])))
