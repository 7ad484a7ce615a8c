"""The labels that the documents of an index hand to others, over one affinity at a time."""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from graphloss.graph.induction import class_shares, one_hot, walk_rows, width_grid
from graphloss.inference.index import Index, Similarities, Views

SAMPLE = 200  # documents whose similarities say which widths are worth trying


def votes(similarities: Similarities, width: float, targets: Float[Tensor, "N C"]) -> Float[Tensor, "n C"]:
    """The labels that n documents receive: f = P_ul Y_l; zero throughout where nobody is like them.

    Args:
        similarities: with the documents of the index.
        width: of the kernel.
        targets: (N, C) label rows of the index.
    """
    rows = walk_rows(similarities.values, width)
    if similarities.documents is None:
        return class_shares(rows, targets)
    return (rows[:, None] @ targets[similarities.documents])[:, 0]


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
    targets = one_hot(index.labels, len(index.names))
    parts = []
    for tile in index.tiles(len(views.embeddings)):
        part = Views(views.embeddings[tile], views.words[tile])
        own = None if themselves is None else themselves[tile]
        found = ((index.by_embedding(part), widths), (index.by_words(part), word_widths))
        parts.append(
            [
                torch.stack([votes(without(similarities, own), width, targets) for width in grid])
                for similarities, grid in found
            ]
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
