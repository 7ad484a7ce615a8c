"""The graph of TextGCN: documents and words, joined by TF-IDF and by pointwise mutual information."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from numpy.lib.stride_tricks import sliding_window_view
from scipy.sparse import csr_matrix, diags_array, eye_array, hstack, vstack

WINDOW = 20  # words
CHUNK = 100_000  # windows counted at once


@dataclass(frozen=True)
class WordGraph:
    """A graph whose first nodes are n documents and whose others are V words.

    Attributes:
        adjacency: (n + V, n + V) float32, symmetric: D^-1/2 (A + I) D^-1/2.
        documents: n.
        vocabulary: the number of each word, from 0.
        weights: (V,) inverse document frequency of the words.
        degrees: (V,) of the word nodes, with their loops.
    """

    adjacency: csr_matrix
    documents: int
    vocabulary: dict[str, int]
    weights: Float[np.ndarray, " V"]
    degrees: Float[np.ndarray, " V"]

    @classmethod
    def build(cls, texts: list[list[str]]) -> "WordGraph":
        """Join the words of n texts.

        A document and a word are joined by the count of the word times log(n / documents with it); two words by the
        logarithm of how much more often they share a window of twenty words than chance would have it, where it is
        positive.

        Source: Yao, Mao & Luo (2019).
        """
        vocabulary = {word: number for number, word in enumerate(sorted({word for text in texts for word in text}))}
        counts = _counts(texts, vocabulary)
        weights = np.log(len(texts) / np.maximum(np.bincount(counts.indices, minlength=len(vocabulary)), 1))
        documents = counts.multiply(weights).tocsr()
        words = _mutual_information(texts, vocabulary)
        joined = vstack([hstack([csr_matrix((len(texts), len(texts))), documents]), hstack([documents.T, words])])
        joined = (joined + eye_array(joined.shape[0])).tocsr()
        degrees = np.asarray(joined.sum(axis=1)).ravel()
        scale = diags_array(degrees**-0.5)
        adjacency = csr_matrix((scale @ joined @ scale).astype(np.float32))
        return cls(adjacency, len(texts), vocabulary, weights, degrees[len(texts) :])

    def rows(self, texts: list[list[str]]) -> csr_matrix:
        """(m, V) edges of new documents to the words, normalized as if they were in the graph; unknown words are left
        out. What is missing to the normalized row is the loop: 1 / degree, from `loops`."""
        documents = _counts(texts, self.vocabulary).multiply(self.weights).tocsr()
        scale = diags_array(self.loops(texts) ** 0.5)
        return csr_matrix((scale @ documents @ diags_array(self.degrees**-0.5)).astype(np.float32))

    def loops(self, texts: list[list[str]]) -> Float[np.ndarray, " m"]:
        """(m,) normalized loops of new documents."""
        documents = _counts(texts, self.vocabulary).multiply(self.weights).tocsr()
        return 1.0 / (1.0 + np.asarray(documents.sum(axis=1)).ravel())


def _counts(texts: list[list[str]], vocabulary: dict[str, int]) -> csr_matrix:
    """(n, V), how often a word stands in a text."""
    found = [Counter(vocabulary[word] for word in text if word in vocabulary) for text in texts]
    starts = np.cumsum([0, *map(len, found)])
    columns = np.fromiter((word for counter in found for word in counter), dtype=np.int64, count=starts[-1])
    values = np.fromiter((count for counter in found for count in counter.values()), dtype=np.float64, count=starts[-1])
    return csr_matrix((values, columns, starts), shape=(len(texts), len(vocabulary)))


def _mutual_information(texts: list[list[str]], vocabulary: dict[str, int]) -> csr_matrix:
    """(V, V) log(p(i, j) / (p(i) p(j))) over windows, where it is positive, without the diagonal."""
    together = csr_matrix((len(vocabulary), len(vocabulary)))
    windows = 0
    for present in _windows(texts, vocabulary):
        windows += present.shape[0]
        together = together + present.T @ present
    alone = together.diagonal()
    pairs = together.tocoo()
    information = np.log(pairs.data * windows / (alone[pairs.row] * alone[pairs.col]))
    kept = (information > 0) & (pairs.row != pairs.col)
    return csr_matrix((information[kept], (pairs.row[kept], pairs.col[kept])), shape=together.shape)


def _windows(texts: list[list[str]], vocabulary: dict[str, int]) -> Iterator[csr_matrix]:
    """(windows, V) parts, 1 where a window holds a word."""
    held: list[np.ndarray] = []  # windows of one text, by row
    for text in texts:
        numbers = np.array([vocabulary[word] for word in text], dtype=np.int64)
        held.append(sliding_window_view(numbers, WINDOW) if len(numbers) > WINDOW else numbers[None])
        if sum(map(len, held)) > CHUNK:
            yield _presence(held, len(vocabulary))
            held = []
    if held:
        yield _presence(held, len(vocabulary))


def _presence(held: list[np.ndarray], size: int) -> csr_matrix:
    lengths = np.concatenate([np.full(len(windows), windows.shape[1]) for windows in held])
    columns = np.concatenate([windows.ravel() for windows in held])
    found = csr_matrix((np.ones(len(columns)), columns, np.cumsum([0, *lengths])), shape=(len(lengths), size))
    found.sum_duplicates()
    found.data[:] = 1.0
    return found
