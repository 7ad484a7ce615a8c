"""A run as an estimator of scikit-learn."""

import io
import json
import math
import shutil
import tempfile
import weakref
import zipfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils.validation import check_is_fitted

from graphloss.data.documents import Documents, check_classes, label_ids, label_names
from graphloss.data.splits import Splits, cut_validation
from graphloss.errors import InputError
from graphloss.evaluation.metrics import softmax
from graphloss.inference.audit import as_table, audit, find_duplicates, votes_against
from graphloss.inference.classifier import TrainedClassifier
from graphloss.inference.explain import explain
from graphloss.inference.index import Index
from graphloss.run import RunConfig, run_training
from graphloss.training.run_directory import RunDirectory

CLASSES = "classes.json"


class TextClassifier(ClassifierMixin, BaseEstimator):
    """Texts in, labels out; for pipelines, grid searches and cross-validation.

    Args:
        encoder: "minilm", a folder with a saved model, or a name on the hub.
        setup: "frozen", a linear head and the graph on the encoder as it is, or "integrated" or "standalone" training.
        loss: "gloss", "ce", "scl", "triplet" or "cosine", of fine-tuning.
        graph: mix labels propagated from the training documents into predictions.
        max_length: in tokens, at which texts are cut.
        validation_fraction: share of the labelled texts by which settings are chosen and fine-tuning is stopped.
        seed: of all that is random.
        settings: further fields of `RunConfig` by name, as the flags of `graphloss train`: {"num_train_epochs": 2,
            "graph_weight": 0.5}.

    Attributes:
        classes_: (C,) the labels, sorted.

    Example:
        >>> TextClassifier().fit(texts, labels).predict(["a text"])  # doctest: +SKIP
    """

    classes_: np.ndarray

    def __init__(
        self,
        encoder: str = "minilm",
        *,
        setup: str = "frozen",
        loss: str = "gloss",
        graph: bool = True,
        max_length: int = 128,
        validation_fraction: float = 0.1,
        seed: int = 42,
        settings: dict[str, Any] | None = None,
    ) -> None:
        self.encoder = encoder
        self.setup = setup
        self.loss = loss
        self.graph = graph
        self.max_length = max_length
        self.validation_fraction = validation_fraction
        self.seed = seed
        self.settings = settings

    def fit(self, texts: Iterable[str], labels: Iterable[Any]) -> "TextClassifier":
        """Train on n texts.

        Args:
            texts: n strings.
            labels: n labels, strings, integers or booleans; None or NaN where a text has none.

        Raises:
            InputError: for texts or labels that nothing can be learned from, and unknown settings.
        """
        texts, labels = _strings(texts), list(labels)
        if len(texts) != len(labels):
            raise InputError(f"{len(texts)} texts and {len(labels)} labels; give a label, or None, for each text")
        known = [label for label in labels if not _missing(label)]
        self.classes_ = np.unique(np.asarray(known)) if known else np.empty(0, dtype=object)
        documents = Documents(texts, [None if _missing(label) else str(label) for label in labels], source="labels")
        check_classes(documents)
        splits = Splits(*cut_validation(documents, self.validation_fraction, self.seed))
        self._keep_folder(Path(tempfile.mkdtemp(prefix="graphloss-")))
        run_training(self._config(), splits, overwrite=True)
        return self

    def predict(self, texts: Iterable[str]) -> np.ndarray:
        """(n,) labels of n texts."""
        probabilities = self.predict_proba(texts)
        return self.classes_[probabilities.argmax(axis=1)]

    def predict_proba(self, texts: Iterable[str]) -> Float[np.ndarray, "n C"]:
        """(n, C) probabilities of the classes, in the order of `classes_`."""
        classifier, documents = self._fitted(), Documents(_strings(texts))
        answers = classifier.answer(documents)
        asked = self.graph and classifier.graph.mixture.weight > 0
        found = classifier.ask_graph(documents, answers).probabilities if asked else softmax(answers.logits.numpy())
        return found[:, [classifier.names.index(str(label)) for label in self.classes_]]

    def explain(self, texts: Iterable[str], *, top: int = 10, together: bool = False) -> list[dict[str, Any]]:
        """The training texts whose labels n texts received, and their shares; see `graphloss.inference.explain`."""
        return explain(self._fitted(), Documents(_strings(texts)), top=top, together=together)

    def audit(self, texts: Iterable[str] | None = None, labels: Iterable[Any] | None = None) -> dict[str, list[Any]]:
        """Labels that the others contradict, the most suspicious first, as columns.

        Args:
            texts: n texts; None for the training texts that the classifier keeps. With setup "integrated" the encoder
                has been fitted to their labels, wrong ones included, and judges them too mildly.
            labels: n labels of the texts.
        """
        classifier = self._fitted()
        if texts is None:
            index = classifier.graph.index.take(classifier.graph.index.labelled)
            rows = np.arange(len(index))
        else:
            documents = Documents(_strings(texts), [None if _missing(each) else str(each) for each in labels or []])
            names = label_names(documents)
            embeddings = classifier.answer(documents).embeddings
            index, kept = Index.build(documents, label_ids(documents, names), names, embeddings)
            rows = kept.numpy()
        audited = audit(index)
        against = votes_against(index, audited.kernel)
        return as_table(audited, against, find_duplicates(against, index, {}), index, rows)

    def save(self, folder: str | Path) -> None:
        """Write the run directory to a new folder; `graphloss predict --model FOLDER` reads it, too."""
        self._fitted()
        shutil.copytree(self._folder, folder)
        content = {"parameters": self.get_params(), "classes": self.classes_.tolist()}
        (Path(folder) / CLASSES).write_text(json.dumps(content, indent=2) + "\n")

    @classmethod
    def load(cls, folder: str | Path) -> "TextClassifier":
        """Read what `save` wrote, or the run directory of a finished `graphloss train`.

        Raises:
            InputError: where there is none.
        """
        file, run = Path(folder) / CLASSES, RunDirectory(Path(folder))
        if file.is_file():
            content = json.loads(file.read_text())
        elif run.metrics.exists() and run.model.is_dir():
            names = json.loads((run.model / "config.json").read_text())["id2label"]
            content = {"parameters": {}, "classes": [names[str(number)] for number in range(len(names))]}
        else:
            raise InputError(f"{folder} holds neither a saved TextClassifier nor a finished run")
        loaded = cls(**content["parameters"])
        loaded.classes_ = np.asarray(content["classes"])
        copy = Path(tempfile.mkdtemp(prefix="graphloss-"))
        shutil.copytree(folder, copy, dirs_exist_ok=True)
        loaded._keep_folder(copy)
        return loaded

    def __getstate__(self) -> dict[str, Any]:
        """With the run directory in it, so that a fitted estimator can be pickled."""
        state = {name: value for name, value in super().__getstate__().items() if name not in ("_folder", "_loaded")}
        if hasattr(self, "_folder"):
            content = io.BytesIO()
            with zipfile.ZipFile(content, "w") as archive:
                for path in sorted(self._folder.rglob("*")):
                    archive.write(path, path.relative_to(self._folder))
            state["_archive"] = content.getvalue()
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        content = state.pop("_archive", None)
        super().__setstate__(state)
        if content is not None:
            folder = Path(tempfile.mkdtemp(prefix="graphloss-"))
            with zipfile.ZipFile(io.BytesIO(content)) as archive:
                archive.extractall(folder)
            self._keep_folder(folder)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.string = True
        tags.input_tags.two_d_array = False
        return tags

    def _keep_folder(self, folder: Path) -> None:
        self._folder = folder
        self._loaded: TrainedClassifier | None = None
        weakref.finalize(self, shutil.rmtree, folder, ignore_errors=True)

    def _fitted(self) -> TrainedClassifier:
        check_is_fitted(self, "classes_")
        if self._loaded is None:
            self._loaded = TrainedClassifier.load(self._folder)
        return self._loaded

    def _config(self) -> RunConfig:
        own = {
            "encoder": self.encoder,
            "max_length": self.max_length,
            "setup": self.setup,
            "loss": self.loss,
            "seed": self.seed,
            "validation_fraction": self.validation_fraction,
            "output_dir": str(self._folder),
            "floor": False,
        }
        return RunConfig.of(own | (self.settings or {}))


def _missing(label: Any) -> bool:
    return label is None or (isinstance(label, float) and math.isnan(label))


def _strings(texts: Iterable[str]) -> list[str]:
    if isinstance(texts, str):
        raise InputError("texts must be a list of strings, got one string")
    listed = list(texts)
    for row, text in enumerate(listed):
        if not isinstance(text, str):
            raise InputError(f"texts must be strings, found {type(text).__name__} in row {row}")
        if not text.strip():
            raise InputError(f"the text in row {row} is empty; fill it in or take the row out")
    return [str(text) for text in listed]
