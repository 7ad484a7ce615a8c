"""A trained classifier, from a run directory, at work on new texts."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import nn
from transformers import AutoTokenizer, PreTrainedTokenizerBase

from graphloss.data.documents import Documents
from graphloss.data.tokens import encode
from graphloss.errors import InputError
from graphloss.evaluation.metrics import softmax
from graphloss.models.classifier import Classifier, load_classifier
from graphloss.models.forward import Answers, answer
from graphloss.models.sentence_encoder import read_max_length, read_pooling
from graphloss.training.run_directory import RunDirectory


@dataclass
class TrainedClassifier:
    """A classifier with what it needs to read texts.

    Attributes:
        model: in evaluation mode, on the best device there is.
        names: of the C classes, in order.
        pooling: "first", "mean" or "last", by which embeddings are made.
        max_length: in tokens, at which texts are cut.
    """

    model: Classifier
    tokenizer: PreTrainedTokenizerBase
    names: list[str]
    pooling: str
    max_length: int

    @classmethod
    def load(cls, run: str | Path) -> "TrainedClassifier":
        """Load the model of a run.

        Args:
            run: a run directory, or the model folder in it.

        Raises:
            InputError: where there is no trained model.
        """
        folder = RunDirectory(Path(run)).model
        folder = folder if folder.is_dir() else Path(run)
        if not (folder / "modules.json").exists() or not (folder / "config.json").exists():
            raise InputError(f"{run} holds no trained model; give the --output_dir of a finished graphloss train")
        pooling = read_pooling(str(folder), local=True) or "mean"
        model = load_classifier(folder, pooling)
        nn.Module.to(model, "cuda" if torch.cuda.is_available() else "cpu")
        labels: Any = model.config.id2label
        return cls(
            model=model,
            tokenizer=AutoTokenizer.from_pretrained(folder, local_files_only=True),
            names=[labels[index] for index in range(len(labels))],
            pooling=pooling,
            max_length=read_max_length(folder),
        )

    def predict_proba(self, documents: Documents, batch_size: int = 64) -> Float[np.ndarray, "n C"]:
        """Class probabilities of n documents, (n, C) float64, rows in their order."""
        return softmax(self._answer(documents, batch_size).logits.numpy())

    def embed(self, documents: Documents, batch_size: int = 64) -> Float[np.ndarray, "n d"]:
        """Embeddings of n documents as the graph sees them, (n, d) float32, not normalized."""
        return self._answer(documents, batch_size).embeddings.numpy()

    def _answer(self, documents: Documents, batch_size: int) -> Answers:
        tokens = encode(documents, self.tokenizer, self.max_length)
        return answer(self.model, tokens, self.tokenizer, pooling=self.pooling, most=batch_size)
