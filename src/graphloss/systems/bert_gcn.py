"""BertGCN: an encoder and a graph convolution over its embeddings of all documents, trained together."""

import copy
import shutil
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import numpy as np
import torch
from datasets import Dataset
from jaxtyping import Float, Int
from rich.console import Console
from scipy.sparse import csr_matrix, diags_array
from torch import Tensor, nn

from graphloss.data.tokens import encode
from graphloss.inference.classifier import TrainedClassifier
from graphloss.models.forward import Answers, answer
from graphloss.models.parts import budget_of
from graphloss.models.pooling import HiddenStates, pool
from graphloss.run import RunConfig, run_training
from graphloss.run.documents import LabelledSplits
from graphloss.systems.nodes import Nodes
from graphloss.systems.sparse_product import SparseProduct
from graphloss.systems.text_gcn import train_full_batch
from graphloss.training.gradient_cache import Passed, pass_in_parts

HIDDEN, DROPOUT, GCN_RATE, ENCODER_RATE = 200, 0.5, 1e-3, 1e-5  # of the paper
GCN_SHARE = 0.7  # lambda, the paper's best
FINE_TUNED = "encoder"  # folder in the run, while it is made, for the encoder before the graph


class EmbeddingGCN(nn.Module):
    """Two graph convolutions over documents, whose features are their embeddings, and words, which have none.

    What has no features hands on none, so that of the first layer only the edges from documents matter.

    Args:
        dimension: d of the embeddings.
        num_labels: C.
    """

    def __init__(self, dimension: int, num_labels: int) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(dimension, HIDDEN), nn.Linear(HIDDEN, num_labels)

    def forward(
        self, embeddings: Float[Tensor, "n d"], outward: SparseProduct, inward: SparseProduct
    ) -> Float[Tensor, "n C"]:
        """Logits of the documents.

        Args:
            embeddings: (n, d).
            outward: (N, n), from documents to all nodes.
            inward: (n, N), from all nodes to documents.
        """
        return inward(self.hidden(embeddings, outward) @ self.second.weight.T) + self.second.bias

    def hidden(self, embeddings: Float[Tensor, "n d"], outward: SparseProduct) -> Float[Tensor, "N h"]:
        """Hidden states of all nodes."""
        features = nn.functional.dropout(embeddings, DROPOUT, self.training) @ self.first.weight.T
        return nn.functional.dropout(torch.relu(outward(features) + self.first.bias), DROPOUT, self.training)


def mixed(logits: Float[Tensor, "n C"], by_graph: Float[Tensor, "n C"]) -> Float[Tensor, "n C"]:
    """Logarithms of lambda softmax(by_graph) + (1 - lambda) softmax(logits)."""
    parts = by_graph.log_softmax(dim=1) + np.log(GCN_SHARE), logits.log_softmax(dim=1) + np.log1p(-GCN_SHARE)
    return torch.logsumexp(torch.stack(parts), dim=0)


def bert_gcn(
    config: RunConfig, data: LabelledSplits, say: Callable[[str], None], *, inductive: bool = False
) -> dict[str, Float[np.ndarray, "n C"]]:
    """Logarithms of probabilities of the documents by split.

    Args:
        config: how the encoder is fine-tuned before the graph joins it, by cross-entropy, from the linear head that
            suits it as it was; epochs at most, batch size, patience, precision and seed go for what comes then, too.
        data: the documents; validation and test documents are nodes without a label.
        say: told how large the graph is and how training goes.
        inductive: leave the test documents out of the graph; the published system has them in it.

    The convolution first trains alone, on the embeddings that the fine-tuned encoder gives, as TextGCN does: the
    published system lets it learn in fifty epochs with the encoder, of which a few would leave it near its first
    weights. Then a batch is embedded with gradient into a memory of the embeddings of all documents, which is made anew
    after each epoch. The best epoch on validation documents is kept. The encoder trains on its device, the graph on the
    CPU.

    Source: Lin et al. (2021).
    """
    joint = _Joint(config, data, _fine_tuned(config, data), Nodes.of(data, inductive=inductive, say=say))
    alone = joint.train_graph()
    best, since = joint.judged(), 0
    say(f"{alone} steps of the graph alone: validation accuracy {best.accuracy:.4f}")
    groups = [
        {"params": joint.model.parameters(), "lr": ENCODER_RATE},
        {"params": joint.gcn.parameters(), "lr": GCN_RATE},
    ]
    optimizer = torch.optim.Adam(groups)
    for epoch in range(1, int(config.training.num_train_epochs) + 1):
        joint.train_epoch(optimizer)
        found = joint.judged()
        say(f"epoch {epoch} with the graph: validation accuracy {found.accuracy:.4f}")
        best, since = (found, 0) if found.accuracy > best.accuracy else (best, since + 1)
        if 0 < since == config.training.patience:
            break
    return best.logarithms


class Judged(NamedTuple):
    """What a state of training answers, and its validation accuracy."""

    accuracy: float
    logarithms: dict[str, Float[np.ndarray, "n C"]]


def _fine_tuned(config: RunConfig, data: LabelledSplits) -> TrainedClassifier:
    """The encoder, fine-tuned by cross-entropy in a run of its own inside the run."""
    own = copy.deepcopy(config)
    own.training.output_dir = str(config.directory.path / FINE_TUNED)
    own.training.loss, own.training.setup, own.training.metric_for_best_model = "ce", "integrated", "macro_f1"
    own.model.head, own.model.head_start = "linear", "frozen"
    own.graph.index = own.graph.floor = False
    run_training(own, data.splits, overwrite=True, console=Console(quiet=True))
    config.training.precision = own.training.precision
    classifier = TrainedClassifier.load(own.directory.path)
    shutil.rmtree(own.directory.path)
    return classifier


class _Joint:
    """The encoder and the graph convolution, with the embeddings of all documents."""

    def __init__(self, config: RunConfig, data: LabelledSplits, classifier: TrainedClassifier, nodes: Nodes) -> None:
        self.config, self.classifier, self.nodes = config, classifier, nodes
        self.model = classifier.model
        own = partial(encode, tokenizer=classifier.tokenizer, max_length=classifier.max_length)
        self.tokens = {split: own(data.documents(split)) for split in data.ids}
        adjacency, size = nodes.graph.adjacency, nodes.graph.documents
        self.outward, self.inward = SparseProduct(csr_matrix(adjacency[:, :size])), SparseProduct(adjacency[:size])
        torch.manual_seed(config.training.seed)
        self.gcn = EmbeddingGCN(self.model.config.hidden_size, len(data.names))
        self.refresh()

    def refresh(self) -> None:
        """Embed all documents of the graph."""
        answers = [self._answer(self.tokens[split]) for split in self.nodes.rows]
        logits, embeddings = (torch.cat(column) for column in zip(*answers, strict=True))
        self.answers = Answers(logits.clone(), embeddings.clone())  # the clones may have a gradient

    def train_graph(self) -> int:
        """Train the convolution alone on the embeddings as they are; gives the number of steps."""
        training, checking = self.nodes.labelled("train"), self.nodes.labelled("validation")
        return train_full_batch(self.gcn, self._by_graph, self.nodes.labels, training, checking)

    def _by_graph(self) -> Float[Tensor, "n C"]:
        return self.gcn(self.answers.embeddings, self.outward, self.inward)

    def train_epoch(self, optimizer: torch.optim.Optimizer) -> None:
        """One pass over the labelled training documents."""
        hidden_states = HiddenStates(self.model)
        self.model.train()
        self.gcn.train()
        rows = self.nodes.labelled("train")
        for batch in rows[torch.randperm(len(rows))].split(self.config.training.per_device_train_batch_size):
            optimizer.zero_grad()
            self._loss(batch, hidden_states).backward()
            optimizer.step()
        hidden_states.remove()
        self.refresh()

    def _loss(self, batch: Int[Tensor, " b"], hidden_states: HiddenStates) -> Tensor:
        tokens = self.tokens["train"][batch.tolist()]  # training documents are the first nodes
        device = next(self.model.parameters()).device
        inputs = dict(self.classifier.tokenizer.pad(tokens, return_tensors="pt").to(device))

        def one_pass(tensors: dict[str, Tensor]) -> Passed:
            logits = self.model(**tensors).logits
            states = hidden_states.take()
            return Passed(logits, pool(states, tensors["attention_mask"], self.classifier.pooling), states)

        with torch.autocast(device.type, torch.bfloat16, enabled=self.config.training.precision == "bf16"):
            logits, embeddings, _ = pass_in_parts(one_pass, inputs, budget_of(device), len(batch))
        memory = self.answers.embeddings.clone()
        memory[batch] = embeddings.float().cpu()
        by_graph = self.gcn(memory, self.outward, self.inward)[batch]
        return nn.functional.nll_loss(mixed(logits.float().cpu(), by_graph), self.nodes.labels[batch])

    @torch.no_grad()
    def judged(self) -> Judged:
        """Logarithms of the probabilities of the scored documents by split, and how right they are on validation."""
        self.gcn.eval()
        found = mixed(self.answers.logits, self._by_graph())
        results = {split: found[self.nodes.rows[split]] for split in self.nodes.scored}
        for split, words in self.nodes.outside.items():
            results[split] = self._of_new(self._answer(self.tokens[split]), words)
        rows = self.nodes.labelled("validation")
        accuracy = (found[rows].argmax(dim=1) == self.nodes.labels[rows]).double().mean()
        return Judged(float(accuracy), {split: values.double().numpy() for split, values in results.items()})

    def _of_new(self, answers: Answers, words: list[list[str]]) -> Float[Tensor, "m C"]:
        """Of documents outside the graph, each as if it were the only new node."""
        graph, gcn = self.nodes.graph, self.gcn
        edges = SparseProduct(graph.rows(words))
        loops = SparseProduct(csr_matrix(diags_array(graph.loops(words).astype(np.float32))))
        word_states = gcn.hidden(self.answers.embeddings, self.outward)[graph.documents :]
        own = torch.relu(loops(answers.embeddings @ gcn.first.weight.T) + gcn.first.bias)
        by_graph = edges(word_states @ gcn.second.weight.T) + loops(own @ gcn.second.weight.T) + gcn.second.bias
        return mixed(answers.logits, by_graph)

    def _answer(self, tokens: Dataset) -> Answers:
        return answer(self.model, tokens, self.classifier.tokenizer, pooling=self.classifier.pooling)
