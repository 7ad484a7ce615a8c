"""Labels that the other documents contradict, most suspicious first."""

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int
from scipy.optimize import minimize
from torch import Tensor

from graphloss.data.documents import Documents
from graphloss.graph.induction import left_out_shares, walk_rows
from graphloss.inference.index import Index, Views
from graphloss.inference.votes import Kernel, choose_kernel, left_out_votes, without
from graphloss.models.probes import lda_left_out, ridge_left_out

CORRECTION = 0.5  # exponent of the class shares that opinions are divided by
FITTED = 2_000  # labels by which the noise is estimated
NEIGHBOURS = 3
MOST_NOISE = 0.6
DUPLICATE = 0.9  # cosine above which two documents are taken for one
SURE = 9.0  # nats: no opinion is surer


class Opinions(NamedTuple):
    """What is said of n labels by all that was made without them.

    Attributes:
        graph: (n, C) logarithms of the labels propagated from all other documents.
        ridge: (n, C) of a ridge probe.
        lda: (n, C) of linear discriminant analysis.
        shares: (C,) of the classes among the labels.
    """

    graph: Float[Tensor, "n C"]
    ridge: Float[Tensor, "n C"]
    lda: Float[Tensor, "n C"]
    shares: Float[Tensor, " C"]

    def corrected(self) -> Float[Tensor, "n C"]:
        """The mean of the three, each with large classes marked down, which are said too easily."""
        marked_down = torch.where(self.shares > 0, CORRECTION * self.shares.log(), torch.inf)  # none without a document
        return torch.stack(
            [torch.softmax(opinion - marked_down, dim=1) for opinion in (self.graph, self.ridge, self.lda)]
        ).mean(dim=0)


@dataclass(frozen=True)
class Audit:
    """n labels, judged.

    Attributes:
        score: (n,) suspicion, from 0 to 1.
        suggested: (n,) the class that speaks most for itself.
        wrong: (n,) estimated probability that the label is wrong, if wrong labels fall on any class alike; of labels
            that were mistaken for a like class, too low.
        noise: estimated share of wrong labels, likewise.
        kernel: by which the neighbours were asked.
    """

    score: Float[np.ndarray, " n"]
    suggested: Int[np.ndarray, " n"]
    wrong: Float[np.ndarray, " n"]
    noise: float
    kernel: Kernel

    def order(self) -> Int[np.ndarray, " n"]:
        """Row numbers, the most suspicious first."""
        return (-self.score).argsort(kind="stable")

    def false_alarms(self, first: int) -> float:
        """How many of the first rows are expected to be right after all."""
        return float((1.0 - self.wrong[self.order()[:first]]).sum())


def audit(index: Index) -> Audit:
    """Judge the label of each document of an index, all of them labelled, by all others, in one pass.

    Each label is left out and inferred three ways: by propagation from all other documents, at the kernel widths under
    which labels so inferred are most likely; by ridge regression; and by linear discriminant analysis. The first sees
    the neighbourhood, the others the whole.

    Source: leaving one out of label propagation in closed form is the project's own; that the confidence of a model
    fitted without a document ranks label errors is Northcutt, Jiang & Chuang (2021).
    """
    labels, classes = index.labels, len(index.names)
    kernel = choose_kernel(index)
    opinions = Opinions(
        _propagated(index, kernel).clamp_min(1e-5).log(),
        ridge_left_out(index.embeddings, labels, classes),
        lda_left_out(index.embeddings, labels, classes),
        torch.bincount(labels, minlength=classes).float() / len(labels),
    )
    judged = opinions.corrected()
    noise, wrong = _noise(opinions, labels)
    return Audit(
        score=(1.0 - judged.gather(1, labels[:, None])[:, 0]).numpy(),
        suggested=judged.argmax(dim=1).numpy(),
        wrong=wrong,
        noise=noise,
        kernel=kernel,
    )


def _propagated(index: Index, kernel: Kernel) -> Float[Tensor, "n C"]:
    """The labels that each document would receive from all others."""
    if not index.exact or kernel.word_share:
        return left_out_votes(index, kernel)
    return left_out_shares(index.embeddings, index.targets, kernel.bandwidth)  # as the former, in half the time


def _noise(opinions: Opinions, labels: Int[Tensor, " n"]) -> tuple[float, Float[np.ndarray, " n"]]:
    """The share of random labels, and the probability of each label to be one.

    A label is drawn at random with probability e and else from what the opinions, multiplied, make likely; e and the
    exponents are those under which the labels are most likely.
    """
    stacked = torch.stack([opinions.graph, opinions.ridge, opinions.lda]).clamp_min(-SURE).numpy()
    truth, classes = labels.numpy(), stacked.shape[2]
    some = np.random.default_rng(0).permutation(len(truth))[:FITTED]
    fitted, fitted_truth = stacked[:, some], truth[some]
    of_truth = _at(fitted, fitted_truth)

    def loss_and_slopes(values: np.ndarray) -> tuple[float, np.ndarray]:
        noise, probabilities = values[-1], _multiplied(values[:-1], fitted)
        right = _at(probabilities, fitted_truth)
        observed = (1.0 - noise) * right + noise / classes
        expected = np.einsum("knc,nc->kn", fitted, probabilities)
        slopes = (1.0 - noise) * right / observed * (expected - of_truth)
        slope = (right - 1.0 / classes) / observed
        return -float(np.log(observed).mean()), np.append(slopes.mean(axis=1), slope.mean())

    start, bounds = [0.5, 0.5, 0.5, 0.1], [(0.0, 10.0)] * 3 + [(1e-6, MOST_NOISE)]
    found = minimize(loss_and_slopes, start, jac=True, method="L-BFGS-B", bounds=bounds)
    noise, right = float(found.x[-1]), _at(_multiplied(found.x[:-1], stacked), truth)
    random = noise / classes / ((1.0 - noise) * right + noise / classes)
    return noise * (1.0 - 1.0 / classes), random * (1.0 - right)


def _multiplied(exponents: np.ndarray, opinions: np.ndarray) -> np.ndarray:
    """(n, C) probabilities from the product of (k, n, C) opinions."""
    scores = np.tensordot(exponents.astype(opinions.dtype), opinions, axes=1)
    probabilities = np.exp(scores - scores.max(axis=1, keepdims=True))
    return probabilities / probabilities.sum(axis=1, keepdims=True)


def _at(values: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """The entries of (..., n, C) at the label of each row."""
    return values[..., np.arange(len(labels)), labels]


class Against(NamedTuple):
    """The documents that vote for another label than a document has.

    Attributes:
        rows: (n, k) which, those with the largest shares first.
        shares: (n, k) their shares in what the graph says over the embeddings; 0 where there are fewer.
        similarity: (n, k) cosines of their embeddings with the document's, or of their words, whichever is less.
    """

    rows: Int[np.ndarray, "n k"]
    shares: Float[np.ndarray, "n k"]
    similarity: Float[np.ndarray, "n k"]


def votes_against(index: Index, kernel: Kernel) -> Against:
    """The neighbours of another label that have the largest say in each document of an index."""
    found = []
    for tile in index.tiles(len(index)):
        own = torch.arange(len(index))[tile]
        values, documents = without(index.by_embedding(Views(index.embeddings[tile], index.words[tile])), own)
        others = index.labels.expand(len(own), -1) if documents is None else index.labels[documents]
        shares = walk_rows(values, kernel.bandwidth).masked_fill_(others == index.labels[tile, None], 0.0)
        best = shares.topk(min(NEIGHBOURS, shares.shape[1]), dim=1)
        rows = best.indices if documents is None else documents.gather(1, best.indices)
        alike = values.gather(1, best.indices).numpy()
        if index.vectors.terms:  # encoders differ in how alike they find any two texts; words do not
            alike = np.minimum(alike, _word_cosines(index, own.numpy(), rows.numpy()))
        found.append((rows.numpy(), best.values.numpy(), alike))
    return Against(*(np.concatenate(columns) for columns in zip(*found, strict=True)))


def _word_cosines(index: Index, own: np.ndarray, others: np.ndarray) -> Float[np.ndarray, "n k"]:
    mine = index.words[own]
    return np.stack([np.asarray(mine.multiply(index.words[rows]).sum(axis=1))[:, 0] for rows in others.T], axis=1)


class Duplicates(NamedTuple):
    """Documents that stand more than once.

    Attributes:
        conflicting: by row, the rows of near-duplicates with another label.
        elsewhere: by row, where in other splits the same text stands, as "split:row".
    """

    conflicting: dict[int, list[int]]
    elsewhere: dict[int, list[str]]


def find_duplicates(against: Against, index: Index, others: dict[str, Documents]) -> Duplicates:
    """Near-duplicates among the documents of an index, and the same texts in other splits.

    Args:
        against: of the index.
        index: n documents.
        others: documents by the name of their split.
    """
    differ = (index.labels[torch.from_numpy(against.rows)] != index.labels[:, None]).numpy()
    alike = differ & (against.similarity > DUPLICATE)
    conflicting = {int(row): against.rows[row][alike[row]].tolist() for row in np.flatnonzero(alike.any(axis=1))}
    places: dict[str, list[str]] = {}
    for split, documents in others.items():
        for row, text in enumerate(documents.texts):
            places.setdefault(_plain(text), []).append(f"{split}:{row}")
    texts = enumerate(index.documents.texts)
    return Duplicates(conflicting, {row: places[_plain(text)] for row, text in texts if _plain(text) in places})


def _plain(text: str) -> str:
    return " ".join(text.split()).casefold()


def as_table(
    audited: Audit, against: Against, duplicates: Duplicates, index: Index, rows: Int[np.ndarray, " n"]
) -> dict[str, list[Any]]:
    """The audit as columns, the most suspicious label first.

    Args:
        audited: of the index.
        against: of the index.
        index: n documents.
        rows: their row numbers in the file.
    """
    names, order = index.names, audited.order().tolist()

    def voters(row: int) -> str:
        found = zip(against.rows[row], against.shares[row], strict=True)
        return "; ".join(
            f"{rows[other]} ({names[int(index.labels[other])]}, {share:.1%})" for other, share in found if share > 0
        )

    return {
        "row": [int(rows[row]) for row in order],
        "text": [index.documents.texts[row] for row in order],
        "label": [names[int(index.labels[row])] for row in order],
        "suggested": [names[int(audited.suggested[row])] for row in order],
        "score": [round(float(audited.score[row]), 6) for row in order],
        "probability_wrong": [round(float(audited.wrong[row]), 6) for row in order],
        "against": [voters(row) for row in order],
        "conflicting_duplicates": [
            "; ".join(str(rows[o]) for o in duplicates.conflicting.get(row, [])) for row in order
        ],
        "also_in": ["; ".join(duplicates.elsewhere.get(row, [])) for row in order],
    }
