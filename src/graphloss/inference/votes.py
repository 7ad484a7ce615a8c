"""The labels that the documents of an index hand to others, over one affinity at a time."""

from dataclasses import replace
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from graphloss.graph.induction import shares_by_width, walk_rows, width_grid
from graphloss.inference.index import Index, Similarities, Views
from graphloss.inference.mixture import LEAST, SHARES, mixed_shares

SAMPLE = 200  # documents whose similarities say which widths are worth trying
JUDGED = 512  # labels by which a kernel is chosen


class Kernel(NamedTuple):
    """How documents hand on labels: kernel widths among embeddings and among words, and the share of the words."""

    bandwidth: float
    word_bandwidth: float
    word_share: float


def choose_kernel(index: Index) -> Kernel:
    """The widths and the share of the words under which a sample of the labels, each left out, is most likely.

    No label costs more than if its class had a thousandth: a few wrong ones are not to choose the kernel.
    """
    labelled = index.labelled
    some = labelled[torch.from_numpy(np.random.default_rng(0).permutation(len(labelled))[:JUDGED])]
    views = Views(index.embeddings[some], index.words[some.numpy()])
    widths, word_widths = width_grids(index, views)
    truth = index.labels[some][:, None]

    def likelihood(shares: Tensor) -> float:
        return float((shares.gather(1, truth) + LEAST).log().mean())

    if not index.vectors.terms:
        word_widths = word_widths[:1]
    embeddings, words = votes_by_width(index, views, widths, word_widths, themselves=some)
    best = int(np.argmax([likelihood(shares) for shares in embeddings]))
    best_words = int(np.argmax([likelihood(shares) for shares in words]))
    mixed = [likelihood(mixed_shares(embeddings[best], words[best_words], share)) for share in SHARES]
    return Kernel(widths[best], word_widths[best_words], SHARES[int(np.argmax(mixed))])


def left_out_votes(index: Index, kernel: Kernel, rows: Int[Tensor, " n"] | None = None) -> Float[Tensor, "n C"]:
    """The labels that n documents of an index receive from all others in it.

    Args:
        index: N documents.
        kernel: how labels are handed on.
        rows: their row numbers; None for all.
    """
    own = torch.arange(len(index)) if rows is None else rows
    received = []
    for tile in index.tiles(len(own)):
        part = Views(index.embeddings[own[tile]], index.words[own[tile].numpy()])
        shares = votes(without(index.by_embedding(part), own[tile]), kernel.bandwidth, index.targets)
        if kernel.word_share:
            words = votes(without(index.by_words(part), own[tile]), kernel.word_bandwidth, index.targets)
            shares = mixed_shares(shares, words, kernel.word_share)
        received.append(shares)
    return torch.cat(received)


def smoothed(index: Index) -> Index:
    """An index whose unlabelled documents tell others what their neighbours and they themselves are thought to be,
    instead of what is thought of each alone.

    One step of propagation over the graph of all documents, labelled ones holding their label. Further steps, or the
    harmonic solution, would let what is said of the many without a label drown what the labels say.

    Source: Delalleau, Bengio & Le Roux (2005) for handing labels on to new documents through unlabelled ones.
    """
    rows = torch.nonzero(index.labels < 0)[:, 0]
    if not len(rows):
        return index
    targets = index.targets.clone()
    targets[rows] = left_out_votes(index, choose_kernel(index), rows)
    return replace(index, targets=targets)


def votes(similarities: Similarities, width: float, targets: Float[Tensor, "N C"]) -> Float[Tensor, "n C"]:
    """The labels that n documents receive: f = P_ul Y_l; zero throughout where nobody is like them.

    Args:
        similarities: with the documents of the index.
        width: of the kernel.
        targets: (N, C) label rows of the index.
    """
    return _votes(similarities, [width], targets)[0]


def _votes(similarities: Similarities, widths: list[float], targets: Tensor) -> list[Float[Tensor, "n C"]]:
    values, documents = similarities
    if documents is None:
        return shares_by_width(values, widths, targets)
    return [(walk_rows(values, width)[:, None] @ targets[documents])[:, 0] for width in widths]


def votes_by_width(
    index: Index,
    views: Views,
    widths: list[float],
    word_widths: list[float],
    themselves: Int[Tensor, " n"] | None = None,
) -> tuple[Float[Tensor, "k n C"], Float[Tensor, "m n C"]]:
    """The labels that n documents receive at every width, over the embeddings and over the words.

    Args:
        index: the labelled documents.
        views: of n documents.
        widths: k kernel widths among embeddings.
        word_widths: m among words.
        themselves: row numbers of the documents in the index, where they are in it: each is left out.
    """
    parts = []
    for tile in index.tiles(len(views.embeddings)):
        part = Views(views.embeddings[tile], views.words[tile])
        own = None if themselves is None else themselves[tile]
        found = ((index.by_embedding(part), widths), (index.by_words(part), word_widths))
        parts.append(
            [torch.stack(_votes(without(similarities, own), grid, index.targets)) for similarities, grid in found]
        )
    embeddings, words = (torch.cat(columns, dim=1) for columns in zip(*parts, strict=True))
    return embeddings, words


def width_grids(index: Index, views: Views) -> tuple[list[float], list[float]]:
    """Kernel widths worth trying among embeddings, and among words."""
    some = Views(views.embeddings[:SAMPLE], views.words[:SAMPLE])
    return width_grid(index.by_embedding(some).values), width_grid(index.by_words(some).values)


def without(similarities: Similarities, own: Int[Tensor, " n"] | None) -> Similarities:
    """Similarities of documents of the index itself, with -inf where one meets itself."""
    if own is None:
        return similarities
    values, documents = similarities
    if documents is None:
        return Similarities(values.scatter(1, own[:, None], -torch.inf), None)
    return Similarities(values.masked_fill(documents == own[:, None], -torch.inf), documents)


def spread(similarities: Similarities, rows: Float[Tensor, "n k"], size: int) -> Float[Tensor, "n N"]:
    """Shares of the documents that were found, at their places among all."""
    if similarities.documents is None:
        return rows
    return rows.new_zeros(len(rows), size).scatter_add_(1, similarities.documents, rows)
