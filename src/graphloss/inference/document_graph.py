"""New documents beside the training documents: the labels that these hand to them, and by whose hand."""

import json
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from graphloss.graph.induction import kernel_mass, walk_rows
from graphloss.inference.index import Index, Similarities, Views
from graphloss.inference.index_files import load_index, save_index
from graphloss.inference.mixture import HeldOut, Mixture, choose, mixed_shares
from graphloss.inference.votes import Kernel, left_out_votes, spread, votes, votes_by_width, width_grids

HELD_OUT = 2_000  # documents by which the mixture is chosen
FOLDS = 5
TINY = 1e-9
SETTINGS = "mixture.json"


class Reach(NamedTuple):
    """Whose labels n documents receive from the N of an index.

    Attributes:
        embeddings: (n, N) shares over the embeddings.
        words: (n, N) shares over the words; both add up to one for each document.
        mass: (n,) kernel mass, float64.
    """

    embeddings: Float[Tensor, "n N"]
    words: Float[Tensor, "n N"]
    mass: Float[Tensor, " n"]


class Propagated(NamedTuple):
    """What the graph says of n documents.

    Attributes:
        probabilities: (n, C), the labels that the training documents hand on.
        mass: (n,), the kernel mass of each document to them, over both affinities: near zero where nothing like it
            has a label.
    """

    probabilities: Float[Tensor, "n C"]
    mass: Float[Tensor, " n"]


@dataclass
class DocumentGraph:
    """The index of a run and how its graph goes into predictions.

    Attributes:
        index: the training documents.
        mixture: kernel widths and weights.
        threshold: kernel mass below which the run abstains; so chosen that it answers a share `coverage` of the
            validation documents.
        coverage: that share.
        evidence: the scores by which the mixture was chosen and checked, for people.
    """

    index: Index
    mixture: Mixture
    threshold: float = 0.0
    coverage: float = 1.0
    evidence: dict[str, Any] = field(default_factory=dict)

    def propagate(self, views: Views) -> Propagated:
        """The labels that the training documents hand to n new ones, each on its own."""
        targets = self.index.targets
        parts = []
        for tile in self.index.tiles(len(views.embeddings)):
            embeddings, words = self._similarities(Views(views.embeddings[tile], views.words[tile]))
            shares = mixed_shares(
                votes(embeddings, self.mixture.bandwidth, targets),
                votes(words, self.mixture.word_bandwidth, targets),
                self.mixture.word_share,
            )
            parts.append(Propagated(shares, self._mass(embeddings, words)))
        return Propagated(*(torch.cat(columns) for columns in zip(*parts, strict=True)))

    def reach(self, views: Views) -> Reach:
        """Whose labels n new documents receive, each on its own. For few: the result is as large as it looks."""
        embeddings, words = self._similarities(views)
        by_embedding = spread(embeddings, walk_rows(embeddings.values, self.mixture.bandwidth), len(self.index))
        by_words = spread(words, walk_rows(words.values, self.mixture.word_bandwidth), len(self.index))
        share = torch.where(by_words.sum(dim=1, keepdim=True) > 0, self.mixture.word_share, 0.0)
        return Reach(by_embedding * (1.0 - share), by_words * share, self._mass(embeddings, words))

    def opinions(self, logits: Float[Tensor, "N C"]) -> Float[Tensor, "N C"]:
        """What a head and the graph together think of the N documents of the index, each left out of the graph.

        Args:
            logits: of the head.
        """
        kernel = Kernel(self.mixture.bandwidth, self.mixture.word_bandwidth, self.mixture.word_share)
        return self.mixture.mix(logits, left_out_votes(self.index, kernel))

    def _similarities(self, views: Views) -> tuple[Similarities, Similarities]:
        return self.index.by_embedding(views), self.index.by_words(views)

    def _mass(self, embeddings: Similarities, words: Similarities) -> Float[Tensor, " n"]:
        return torch.lerp(
            kernel_mass(embeddings.values, self.mixture.bandwidth),
            kernel_mass(words.values, self.mixture.word_bandwidth),
            self.mixture.word_share,
        )

    def save(self, folder: Path, encoder: str) -> None:
        """Write the index and the mixture; see `save_index`."""
        settings = {name: value for name, value in vars(self).items() if name not in ("index", "mixture")}
        save_index(self.index, folder, encoder, {SETTINGS: {"mixture": asdict(self.mixture)} | settings})

    @classmethod
    def load(cls, folder: Path, encoder: str) -> "DocumentGraph":
        """Read what `save` wrote.

        Raises:
            InputError: as `load_index`.
        """
        index = load_index(folder, encoder)
        content = json.loads((folder / SETTINGS).read_text())
        return cls(index, Mixture(**content.pop("mixture")), **content)


def fit_graph(
    index: Index,
    *,
    validation: Views,
    logits: Float[Tensor, "n C"],
    labels: Int[Tensor, " n"],
    left_out: Float[Tensor, "N C"] | None = None,
    coverage: float = 0.9,
) -> DocumentGraph:
    """Choose how the graph of an index goes into predictions.

    Args:
        index: N documents.
        validation: n documents that neither the encoder nor the head was fitted to.
        logits: (n, C) of the head for them.
        labels: (n,) their classes.
        left_out: (N, C) logits of the documents of the index by heads that have not seen them, where the encoder has
            not seen their labels either. The mixture is then chosen by leaving each of them out of the graph, and
            checked on the validation documents. Without them, the encoder was trained on the index, whose own documents
            it answers too well: validation documents choose, and the check is on folds of them. So they do where the
            index holds unlabelled documents, whose opinions come from a head that has seen the labels.
        coverage: share of the validation documents that are to be answered; see `DocumentGraph.threshold`.

    The weight is zero where fewer validation documents are right with the graph, or where they are not likelier by more
    than a standard error: with few of them a gain may be chance, and the head is what the user has.
    """
    known = torch.nonzero(labels >= 0)[:, 0]
    grids = width_grids(index, validation)
    if not len(known):
        return DocumentGraph(index, Mixture(grids[0][0], grids[1][0], 0.0, 0.0), coverage=coverage)
    seen = Views(validation.embeddings[known], validation.words[known.numpy()])
    checked = HeldOut(logits[known], *votes_by_width(index, seen, *grids), labels[known], *grids)
    if left_out is None or len(index.labelled) < len(index):
        mixture = choose(checked)
        mixed = _cross_fitted(checked)
        source = f"{len(checked.labels):,} validation documents"
    else:
        order = torch.from_numpy(np.random.default_rng(0).permutation(len(index.labelled)))
        rows = index.labelled[order[:HELD_OUT]]
        own = Views(index.embeddings[rows], index.words[rows.numpy()])
        shares = votes_by_width(index, own, *grids, themselves=rows)
        mixture = choose(HeldOut(left_out[rows], *shares, index.labels[rows], *grids))
        mixed = checked.probabilities(mixture)
        source = f"{len(rows):,} training documents, each left out"
    graph = DocumentGraph(index, mixture, coverage=coverage)
    graph.evidence = {"chosen_on": source} | _evidence(checked, mixed)
    if graph.evidence["with_graph"] < graph.evidence["head"] or graph.evidence["gain"] <= graph.evidence["error"]:
        graph.mixture = replace(mixture, weight=0.0, head_weight=1.0)
    mass = graph.propagate(validation).mass
    graph.threshold = float(torch.quantile(mass, 1.0 - coverage))
    return graph


def _cross_fitted(held_out: HeldOut) -> Float[Tensor, "n C"]:
    """Predictions for held-out documents by mixtures that were chosen without them."""
    fold = torch.from_numpy(np.random.default_rng(0).permutation(len(held_out.labels)) % FOLDS)
    mixed = torch.softmax(held_out.logits.double(), dim=1)
    for number in range(FOLDS):
        rows = torch.nonzero(fold == number)[:, 0]
        others = torch.nonzero(fold != number)[:, 0]
        if len(rows) and len(others):
            mixed[rows] = held_out.take(rows).probabilities(choose(held_out.take(others)))
    return mixed


def _evidence(checked: HeldOut, mixed: Float[Tensor, "n C"]) -> dict[str, Any]:
    """Accuracy of the head and with the graph, the mean gain in log-likelihood in nats, and its standard error."""
    head, truth = torch.softmax(checked.logits.double(), dim=1), checked.labels[:, None]
    gains = (mixed.gather(1, truth).clamp_min(TINY) / head.gather(1, truth).clamp_min(TINY)).log()
    right = ((each.argmax(dim=1, keepdim=True) == truth).double().mean() for each in (head, mixed))
    accuracies = dict(zip(("head", "with_graph"), map(float, right), strict=True))
    error = float(gains.std(correction=0)) / len(truth) ** 0.5
    return {"documents": len(truth)} | accuracies | {"gain": float(gains.mean()), "error": error}
