"""How much of the graph goes into a prediction: kernel widths, the share of each affinity, and the mixing weights.

What the labelled documents hand on over the embeddings and over the words are two distributions over the classes; the
graph says f = (1 - s) f_embeddings + s f_words. The prediction is head^h f^g, brought to sum one: two opinions
multiplied, each as far as it is to be trusted. (Adding them up instead, (1 - w) head + w f, was less accurate on every
set tried: docs/log.md.) All of it is chosen by the likelihood of labels that neither the graph nor the head has seen.
"""

from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int
from scipy.optimize import minimize
from torch import Tensor

LEAST = 1e-3  # what a class gets at least of what is handed on: its logarithm is taken
SHARES = (0.0, 0.15, 0.3, 0.5, 0.7, 0.85, 1.0)  # of the words, that are tried
BEST = 4  # widths of each affinity that are tried with those of the other
MOST = 100.0  # wide kernels hand on nearly the same to all, and their little difference may weigh much
USUAL = 0.5  # exponent of either, where nothing speaks for another
CAUTION = 2.0  # nats that it must gain, over all documents, to be off by a factor of e


@dataclass(frozen=True)
class Mixture:
    """What is mixed, and how much of it.

    Attributes:
        bandwidth: kernel width among embeddings.
        word_bandwidth: kernel width among TF-IDF vectors.
        word_share: s, the share of the words in what the graph says, from 0 to 1.
        weight: g, the exponent of what the graph says; at 0 the head alone is asked.
        head_weight: h, the exponent of what the head says.
    """

    bandwidth: float
    word_bandwidth: float
    word_share: float
    weight: float
    head_weight: float = 1.0

    def mix(self, logits: Float[Tensor, "n C"], propagated: Float[Tensor, "n C"]) -> Float[Tensor, "n C"]:
        """Probabilities of n documents, in float64; with weight 0 those of the head, untouched."""
        if self.weight == 0.0:
            return torch.softmax(logits.double(), dim=1)
        head, graph = torch.log_softmax(logits.double(), dim=1), log_opinion(propagated)
        return torch.softmax(self.head_weight * head + self.weight * graph, dim=1)


class HeldOut(NamedTuple):
    """Documents whose labels neither the head nor the graph has seen, at every setting of the graph.

    Attributes:
        logits: (n, C) of the head.
        embeddings: (k, n, C), labels handed on over the embeddings, for each width of a grid.
        words: (m, n, C), over the words.
        labels: (n,) true classes.
        widths: k kernel widths among embeddings.
        word_widths: m among words.
    """

    logits: Float[Tensor, "n C"]
    embeddings: Float[Tensor, "k n C"]
    words: Float[Tensor, "m n C"]
    labels: Int[Tensor, " n"]
    widths: list[float]
    word_widths: list[float]

    def take(self, rows: Int[Tensor, " r"]) -> "HeldOut":
        """Some of the documents."""
        return self._replace(
            logits=self.logits[rows],
            embeddings=self.embeddings[:, rows],
            words=self.words[:, rows],
            labels=self.labels[rows],
        )

    def propagated(self, mixture: Mixture) -> Float[Tensor, "n C"]:
        """What the graph says at the widths, which are of the grids, and the word share of a mixture."""
        embeddings = self.embeddings[self.widths.index(mixture.bandwidth)]
        words = self.words[self.word_widths.index(mixture.word_bandwidth)]
        return mixed_shares(embeddings, words, mixture.word_share)

    def probabilities(self, mixture: Mixture) -> Float[Tensor, "n C"]:
        """What the mixture predicts."""
        return mixture.mix(self.logits, self.propagated(mixture))


def mixed_shares(
    embeddings: Float[Tensor, "n m"], words: Float[Tensor, "n m"], word_share: float
) -> Float[Tensor, "n m"]:
    """Shares over both affinities; where a document has no word that is known, those of the embeddings alone."""
    silent = words.sum(dim=1, keepdim=True) == 0.0
    return torch.where(silent, embeddings, torch.lerp(embeddings, words, word_share))


def log_opinion(propagated: Float[Tensor, "n C"]) -> Float[Tensor, "n C"]:
    """Logarithms of propagated labels, in float64; no class is ruled out."""
    return torch.log((propagated.double() + LEAST) / (1.0 + LEAST * propagated.shape[1]))


def choose(held_out: HeldOut) -> Mixture:
    """The mixture under which the labels of held-out documents are most likely.

    For given widths and a given word share the likelihood has one maximum in the two exponents. Each affinity is
    searched alone; then the best widths of both are paired, with every word share.
    """
    first = Mixture(held_out.widths[0], held_out.word_widths[0], 0.0, 0.0)
    alone = [_fit(held_out, replace(first, bandwidth=width)) for width in held_out.widths]
    by_words = [_fit(held_out, replace(first, word_bandwidth=width, word_share=1.0)) for width in held_out.word_widths]
    paired = [
        _fit(held_out, replace(first, bandwidth=one.bandwidth, word_bandwidth=other.word_bandwidth, word_share=share))
        for _, one in sorted(alone, key=_loss)[:BEST]
        for _, other in sorted(by_words, key=_loss)[:BEST]
        for share in SHARES[1:-1]
    ]
    return min([*alone, *by_words, *paired], key=_loss)[1]


def _loss(fit: tuple[float, Mixture]) -> float:
    return fit[0]


def _fit(held_out: HeldOut, mixture: Mixture) -> tuple[float, Mixture]:
    """The exponents that suit a mixture best, and the negative log-likelihood that they leave.

    Of few documents the likelihood says little: a penalty, the same for any number, keeps the exponents near the usual.
    """
    opinions = torch.stack(
        [torch.log_softmax(held_out.logits.double(), dim=1), log_opinion(held_out.propagated(mixture))]
    ).numpy()
    labels = held_out.labels.numpy()
    of_truth = opinions[:, np.arange(len(labels)), labels]

    def loss_and_slopes(logarithms: np.ndarray) -> tuple[float, np.ndarray]:
        exponents, off = np.exp(logarithms), logarithms - np.log(USUAL)
        scores = np.tensordot(exponents, opinions, axes=1)
        scores -= scores.max(axis=1, keepdims=True)
        probabilities = np.exp(scores)
        total = probabilities.sum(axis=1)
        expected = np.einsum("knc,nc->kn", opinions, probabilities) / total
        loss = np.log(total) - scores[np.arange(len(labels)), labels]
        length, caution = np.hypot(off, 0.1), CAUTION / len(labels)
        slopes = exponents * (expected - of_truth).mean(axis=1) + caution * off / length
        return float(loss.mean() + caution * length.sum()), slopes

    start, bounds = np.log([USUAL] * 2), [(np.log(1.0 / MOST), np.log(MOST))] * 2
    found = minimize(loss_and_slopes, start, jac=True, method="L-BFGS-B", bounds=bounds)
    head_weight, weight = (float(exponent) for exponent in np.exp(found.x))
    return float(found.fun), replace(mixture, weight=weight, head_weight=head_weight)
