"""A linear classifier on bags of words."""

from collections.abc import Callable
from typing import Any

import numpy as np
from jaxtyping import Float

from graphloss.run.documents import LabelledSplits

STRENGTHS = (0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0)  # inverse of the regularization, as scikit-learn counts it


def tfidf_svm(data: LabelledSplits) -> dict[str, Float[np.ndarray, "n C"]]:
    """TF-IDF and a linear support vector machine, one class against the rest; see `_linear`."""
    from sklearn.svm import LinearSVC

    return _linear(data, lambda strength: LinearSVC(C=strength, random_state=0, max_iter=10_000))


def tfidf_logistic(data: LabelledSplits) -> dict[str, Float[np.ndarray, "n C"]]:
    """TF-IDF and logistic regression; see `_linear`."""
    from sklearn.linear_model import LogisticRegression

    return _linear(data, lambda strength: LogisticRegression(C=10.0 * strength, max_iter=300))  # its best are larger


def _linear(data: LabelledSplits, make: Callable[[float], Any]) -> dict[str, Float[np.ndarray, "n C"]]:
    """Scores of the documents by split, at the strength that is most often right on validation.

    The words are all runs of letters and digits, counted logarithmically. Training documents without a label are left
    out.
    """
    from sklearn.feature_extraction.text import TfidfVectorizer

    labels = np.asarray(data.ids["train"])
    known, checked = np.flatnonzero(labels >= 0), np.asarray(data.ids["validation"])
    vectorizer = TfidfVectorizer(sublinear_tf=True, token_pattern=r"(?u)\b\w+\b", dtype=np.float32)
    points = {"train": vectorizer.fit_transform([data.documents("train").whole_texts[row] for row in known])}
    points |= {split: vectorizer.transform(data.documents(split).whole_texts) for split in data.scored}
    fits = []
    for strength in STRENGTHS:
        model = make(strength).fit(points["train"], labels[known])
        right = model.predict(points["validation"]) == checked
        fits.append((float(right[checked >= 0].mean()), -strength, model))
    _, _, model = max(fits, key=lambda fit: fit[:2])
    return {split: _scores(model, points[split], len(data.names)) for split in data.scored}


def _scores(model: Any, points: Any, num_labels: int) -> Float[np.ndarray, "n C"]:
    """Decision values of every class; of one without a training document, too low to be chosen."""
    found = model.decision_function(points)
    if found.ndim == 1:
        found = np.stack([-found, found], axis=1)
    scores = np.full((len(found), num_labels), found.min() - 10.0)
    scores[:, model.classes_] = found
    return scores
