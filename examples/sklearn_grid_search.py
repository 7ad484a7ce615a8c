"""Search the settings of a text classifier with scikit-learn.

Run `python examples/sklearn_grid_search.py`; needs the extra `offline` and a minute or two.
"""

from sklearn.model_selection import GridSearchCV, cross_val_score

from graphloss import TextClassifier
from graphloss.data.docstrings import docstring_splits


def search(classifier: TextClassifier, texts: list[str], labels: list[str]) -> GridSearchCV:
    """Whether the graph helps, by three folds; the best is fitted to all texts."""
    return GridSearchCV(classifier, {"graph": [False, True]}, cv=3, error_score="raise").fit(texts, labels)


if __name__ == "__main__":
    splits = docstring_splits(classes=8, training=24, validation=1, test=24)
    texts, labels = splits.train.texts, splits.train.labels
    found = search(TextClassifier(max_length=64), texts, labels)
    print("head alone, with the graph:", found.cv_results_["mean_test_score"].round(3))
    print("on new texts:", round(found.score(splits.test.texts, splits.test.labels), 3))
    explained = found.best_estimator_.explain(["Return a new array of zeros of a given shape."], top=3)
    print("a text is like:", [(each["label"], round(each["share"], 3)) for each in explained[0]["neighbours"]])
    print("suspicious labels:", found.best_estimator_.audit()["label"][:3])
    print("five folds:", cross_val_score(TextClassifier(max_length=64), texts, labels, cv=5).round(3))
