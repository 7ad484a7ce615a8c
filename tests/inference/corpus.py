"""Small sets of documents of a few classes, each with embeddings around an axis of its own and words of its own."""

import random
from typing import NamedTuple

import torch
from torch import Tensor

from graphloss.data.documents import Documents
from graphloss.inference.index import Index
from tests.conftest import FILLER, WORDS

NAMES = sorted(WORDS)


class Corpus(NamedTuple):
    documents: Documents
    labels: list[int]
    embeddings: Tensor

    def take(self, rows: list[int]) -> "Corpus":
        return Corpus(self.documents.take(rows), [self.labels[row] for row in rows], self.embeddings[rows])

    def index(self) -> Index:
        return Index.build(self.documents, self.labels, NAMES, self.embeddings)[0]


def corpus(documents: int, spread: float = 0.3, seed: int = 0, dimension: int = 8) -> Corpus:
    """Embeddings around the first axes, of lengths from 1 to 3; texts of four filler words and two of the class."""
    draw, generator = random.Random(seed), torch.Generator().manual_seed(seed)
    labels = [row % len(NAMES) for row in range(documents)]
    points = torch.eye(dimension)[labels] + spread * torch.randn(documents, dimension, generator=generator)
    lengths = 1.0 + 2.0 * torch.rand(documents, 1, generator=generator)
    texts = [" ".join(draw.choices(FILLER, k=4) + draw.choices(WORDS[NAMES[label]], k=2)) for label in labels]
    return Corpus(Documents(texts), labels, points * lengths)
