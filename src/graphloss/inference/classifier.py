"""A trained classifier, from a run directory, at work on new texts."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn
from transformers import AutoTokenizer, PreTrainedTokenizerBase

from graphloss.data.documents import Documents
from graphloss.data.tokens import cut_off, encode, encode_windows
from graphloss.errors import InputError
from graphloss.evaluation.metrics import softmax
from graphloss.inference.document_graph import DocumentGraph
from graphloss.inference.index_files import fingerprint
from graphloss.models.classifier import Classifier, build_classifier, load_classifier
from graphloss.models.encoder import Encoder, fitting_length
from graphloss.models.forward import Answers, answer
from graphloss.models.sentence_encoder import read_max_length, read_pooling
from graphloss.training.run_directory import RunDirectory


class GraphAnswer(NamedTuple):
    """What the head and the graph together say of n documents.

    Attributes:
        probabilities: (n, C) float64.
        mass: (n,), kernel mass to the training documents.
    """

    probabilities: Float[np.ndarray, "n C"]
    mass: Float[np.ndarray, " n"]


@dataclass
class TrainedClassifier:
    """A classifier with what it needs to read texts.

    Attributes:
        model: in evaluation mode, on the best device there is.
        names: of the C classes, in order.
        pooling: "first", "mean" or "last", by which embeddings are made.
        max_length: in tokens, at which texts are cut.
        folder: of the model.
        stride: tokens that the windows of a long document share, whose answers are averaged; None to cut it.
        say: told, in one line each, what the user should know of the documents.
    """

    model: Classifier
    tokenizer: PreTrainedTokenizerBase
    names: list[str]
    pooling: str
    max_length: int
    folder: Path
    stride: int | None = None
    say: Callable[[str], None] = lambda line: None

    @classmethod
    def load(
        cls, run: str | Path, *, stride: int | None = None, say: Callable[[str], None] = lambda line: None
    ) -> "TrainedClassifier":
        """Load the model of a run.

        Args:
            run: a run directory, or the model folder in it.
            stride: see the class.
            say: see the class.

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
            tokenizer=AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False),
            names=[labels[index] for index in range(len(labels))],
            pooling=pooling,
            max_length=read_max_length(folder),
            folder=folder,
            stride=stride,
            say=say,
        )

    @classmethod
    def untouched(
        cls,
        encoder: Encoder,
        *,
        max_length: int,
        stride: int | None = None,
        say: Callable[[str], None] = lambda line: None,
    ) -> "TrainedClassifier":
        """An encoder as it was published, for its embeddings alone: its one class means nothing."""
        names = ["none"]
        model = build_classifier(encoder, names, head="linear", pooling=encoder.pooling).eval()
        nn.Module.to(model, "cuda" if torch.cuda.is_available() else "cpu")
        length, folder = fitting_length(encoder, max_length, say), Path(encoder.location)
        return cls(model, encoder.tokenizer, names, encoder.pooling, length, folder, stride, say)

    @cached_property
    def graph(self) -> DocumentGraph:
        """The document graph that the run keeps.

        Raises:
            InputError: where it keeps none, or one that does not belong to this model.
        """
        return DocumentGraph.load(RunDirectory(self.folder.parent).index, fingerprint(self.folder))

    def predict_proba(self, documents: Documents, batch_size: int = 64) -> Float[np.ndarray, "n C"]:
        """Class probabilities of n documents by the head alone, (n, C) float64, rows in their order."""
        return softmax(self.answer(documents, batch_size).logits.numpy())

    def ask_graph(self, documents: Documents, answers: Answers) -> GraphAnswer:
        """Class probabilities of n documents by the head and by labels propagated from the training documents.

        Args:
            documents: n documents.
            answers: of `answer` for them.
        """
        propagated = self.graph.propagate(self.graph.index.views(documents, answers.embeddings))
        mixed = self.graph.mixture.mix(answers.logits, propagated.probabilities)
        return GraphAnswer(mixed.numpy(), propagated.mass.numpy())

    def embed(self, documents: Documents, batch_size: int = 64) -> Float[np.ndarray, "n d"]:
        """Embeddings of n documents as the graph sees them, (n, d) float32, not normalized."""
        return self.answer(documents, batch_size).embeddings.numpy()

    def answer(self, documents: Documents, batch_size: int = 64) -> Answers:
        """Logits and embeddings of n documents."""
        return answer_documents(
            self.model,
            documents,
            self.tokenizer,
            pooling=self.pooling,
            max_length=self.max_length,
            most=batch_size,
            stride=self.stride,
            say=self.say,
        )


def answer_documents(
    model: nn.Module,
    documents: Documents,
    tokenizer: PreTrainedTokenizerBase,
    *,
    pooling: str,
    max_length: int,
    most: int | None = None,
    stride: int | None = None,
    say: Callable[[str], None] = lambda line: None,
) -> Answers:
    """Logits and embeddings of n documents, long ones cut or, with a stride, averaged over their windows."""
    if stride is None:
        tokens = encode(documents, tokenizer, max_length)
        lost = cut_off(documents, tokenizer, tokens, max_length)
        if lost:
            say(
                f"note: {lost:,} of {len(documents):,} documents are longer than {max_length} tokens and were cut; "
                "--stride 16 reads them whole, in windows"
            )
        return answer(model, tokens, tokenizer, pooling=pooling, most=most)
    windows, owners = encode_windows(documents, tokenizer, max_length, stride)
    answers = answer(model, windows, tokenizer, pooling=pooling, most=most)
    counts = torch.from_numpy(np.bincount(owners))[:, None]
    return Answers(*(_sums(values, owners) / counts for values in answers))


def _sums(values: Tensor, owners: np.ndarray) -> Tensor:
    return values.new_zeros(int(owners[-1]) + 1, values.shape[1]).index_add_(0, torch.from_numpy(owners), values)
