"""TextClassifier where scikit-learn expects an estimator."""

import pickle
from pathlib import Path

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

from graphloss import TextClassifier
from graphloss.cli.main import main
from graphloss.errors import InputError
from tests.conftest import sentences

TEXTS, LABELS = sentences(48)
SETTINGS = {"use_cpu": True, "cache_dir": "none", "pooling": "mean"}


@pytest.fixture
def classifier(encoders: dict[str, Path]) -> TextClassifier:
    return TextClassifier(str(encoders["bert"]), max_length=16, settings=SETTINGS)


@pytest.fixture(scope="module")
def fitted(encoders: dict[str, Path]) -> TextClassifier:
    return TextClassifier(str(encoders["bert"]), max_length=16, settings=SETTINGS).fit(TEXTS, LABELS)


def test_it_learns_and_scores(fitted: TextClassifier) -> None:
    texts, labels = sentences(30, seed=5)
    assert fitted.classes_.tolist() == ["food", "space", "sports"]
    assert fitted.score(texts, labels) > 0.8
    probabilities = fitted.predict_proba(texts)
    assert probabilities.shape == (30, 3)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1.0)


def test_labels_come_back_as_they_went_in(classifier: TextClassifier) -> None:
    numbers = [{"food": 10, "space": 9, "sports": 2}[label] for label in LABELS]
    classifier.fit(TEXTS, [*numbers[:-2], None, float("nan")])
    assert classifier.classes_.tolist() == [2, 9, 10]
    assert classifier.predict(TEXTS[:6]).tolist() == numbers[:6]
    assert len(classifier.audit()["row"]) < 46  # a part of the labelled ones is held out


def test_what_is_saved_is_what_is_loaded(fitted: TextClassifier, tmp_path: Path) -> None:
    fitted.save(tmp_path / "saved")
    expected = fitted.predict_proba(TEXTS[:4])
    for other in (TextClassifier.load(tmp_path / "saved"), pickle.loads(pickle.dumps(fitted))):
        np.testing.assert_allclose(other.predict_proba(TEXTS[:4]), expected, rtol=1e-5)
        assert other.get_params() == fitted.get_params()
    (tmp_path / "new.csv").write_text("text\nthe orbit of a comet\n")
    output = str(tmp_path / "out.csv")
    assert (
        main(["predict", "--model", str(tmp_path / "saved"), "--input", str(tmp_path / "new.csv"), "--output", output])
        == 0
    )


def test_explanations_and_audit(fitted: TextClassifier) -> None:
    (explained,) = fitted.explain(["the orbit of a comet"], top=0)
    assert sum(each["share"] for each in explained["neighbours"]) == pytest.approx(1.0, abs=1e-5)
    assert explained["prediction"] == "space"
    wrong = [*LABELS]
    wrong[0] = next(label for label in fitted.classes_ if label != LABELS[0])
    table = fitted.audit(TEXTS, wrong)
    assert table["row"][0] == 0
    assert table["suggested"][0] == LABELS[0]


def test_pipeline_search_and_cross_validation(classifier: TextClassifier) -> None:
    pipeline = make_pipeline(FunctionTransformer(lambda texts: [text.lower() for text in texts]), classifier)
    search = GridSearchCV(pipeline, {"textclassifier__graph": [True, False]}, cv=2, error_score="raise")
    search.fit(TEXTS, LABELS)
    assert search.best_score_ > 0.7
    assert cross_val_score(clone(classifier), TEXTS, LABELS, cv=2, error_score="raise").mean() > 0.7


def test_fine_tuning(encoders: dict[str, Path]) -> None:
    settings = SETTINGS | {"max_steps": 4, "per_device_train_batch_size": 16, "learning_rate": 1e-3}
    classifier = TextClassifier(str(encoders["bert"]), setup="integrated", max_length=16, settings=settings)
    assert classifier.fit(TEXTS, LABELS).predict(TEXTS[:3]).shape == (3,)


def test_mistakes_are_named(classifier: TextClassifier) -> None:
    with pytest.raises(NotFittedError):
        classifier.predict(TEXTS)
    for texts, labels, part in (
        (TEXTS, LABELS[1:], "48 texts and 47 labels"),
        ("a text", ["a"], "list of strings"),
        (["a", 3], ["a", "b"], "found int in row 1"),
        (["a", " "], ["a", "b"], "row 1 is empty"),
        (TEXTS, [None] * 48, "two classes"),
    ):
        with pytest.raises(InputError, match=part):
            classifier.fit(texts, labels)
    with pytest.raises(InputError, match="'nonsense'"):
        classifier.set_params(settings={"nonsense": 1}).fit(TEXTS, LABELS)


def test_unlabelled_texts_are_in_the_index_and_not_in_an_audit(classifier: TextClassifier) -> None:
    extra, _ = sentences(20, seed=9)
    classifier.fit(TEXTS + extra, LABELS + [None] * 20)
    (explained,) = classifier.explain(["the orbit of a comet"], top=0)
    without = [each for each in explained["neighbours"] if each["label"] is None]
    assert len(without) == 20
    assert {each["tells"] for each in without} <= set(classifier.classes_)
    assert len(classifier.audit()["row"]) == len(explained["neighbours"]) - 20
