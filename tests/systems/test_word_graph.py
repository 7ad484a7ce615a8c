"""The graph of documents and words, against plain counting."""

import math
from itertools import combinations

import numpy as np
import pytest

from graphloss.systems import word_graph
from graphloss.systems.cleaning import clean
from graphloss.systems.word_graph import WordGraph

TEXTS = [["a", "b", "a", "c"], ["b", "c"], ["c", "d", "b", "a", "e"], []]


def slowly(texts: list[list[str]], window: int) -> tuple[np.ndarray, list[str]]:
    """The adjacency without its loops and its normalization."""
    words = sorted({word for text in texts for word in text})
    joined = np.zeros((len(texts) + len(words),) * 2)
    for row, text in enumerate(texts):
        for word in set(text):
            column = len(texts) + words.index(word)
            documents = sum(word in other for other in texts)
            joined[row, column] = joined[column, row] = text.count(word) * math.log(len(texts) / documents)
    windows = [set(text[start : start + window]) for text in texts for start in range(max(len(text) - window, 0) + 1)]
    for one, other in combinations(words, 2):
        alone = [sum(word in each for each in windows) for word in (one, other)]
        together = sum({one, other} <= each for each in windows)
        if together and (information := math.log(together * len(windows) / math.prod(alone))) > 0:
            rows = len(texts) + words.index(one), len(texts) + words.index(other)
            joined[rows] = joined[rows[::-1]] = information
    return joined, words


@pytest.mark.parametrize("chunk", [1, 100])
def test_the_graph_is_what_plain_counting_gives(chunk: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(word_graph, "WINDOW", 3)
    monkeypatch.setattr(word_graph, "CHUNK", chunk)
    graph = WordGraph.build(TEXTS)
    joined, words = slowly(TEXTS, 3)
    assert list(graph.vocabulary) == words
    joined += np.eye(len(joined))
    scale = joined.sum(axis=1) ** -0.5
    np.testing.assert_allclose(graph.adjacency.toarray(), scale[:, None] * joined * scale, rtol=1e-6)


def test_new_documents_get_the_rows_that_they_would_have_in_the_graph() -> None:
    graph = WordGraph.build(TEXTS)
    inside = graph.adjacency[: len(TEXTS)].toarray()
    np.testing.assert_allclose(graph.rows(TEXTS).toarray(), inside[:, len(TEXTS) :], rtol=1e-6)
    np.testing.assert_allclose(graph.loops(TEXTS), np.diag(inside), rtol=1e-6)
    assert graph.rows([["unknown"]]).nnz == 0


def test_words_are_cleaned_as_published() -> None:
    assert clean(["I can't! He's (very) A1."]) == [["i", "ca", "n't", "!", "he", "'s", "(", "very", ")", "a1"]]
    long = ["the heart and rare " + "heart failure of " * 10] * 5
    assert clean(["singular " + long[0], *long]) == [["heart", "rare", *["heart", "failure"] * 10]] * 6
