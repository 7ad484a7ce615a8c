"""Texts as weighted bags of words."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.feature_extraction.text import TfidfVectorizer

from graphloss.data.documents import Documents
from graphloss.data.words import WordVectors
from tests.conftest import sentences

some_texts = st.lists(st.text("ab cé.", max_size=12), min_size=1, max_size=6)


def test_two_texts_by_hand() -> None:
    """A word of one text of two weighs 1 + log(3 / 2), one of both 1; a count of two is 1 + log 2."""
    vectors = WordVectors.fit(Documents(["soup soup", "soup bread"]))
    assert vectors.terms == ["bread", "soup"]
    rare = 1.0 + math.log(1.5)
    assert vectors.weights.tolist() == pytest.approx([rare, 1.0])
    got = vectors.transform(Documents(["Soup, SOUP! Bread; tea."])).toarray()[0]
    first = np.array([rare, 1.0 + math.log(2.0)])
    np.testing.assert_allclose(got, first / np.linalg.norm(first), rtol=1e-6)


def test_vectors_are_those_of_scikit_learn() -> None:
    texts, _ = sentences(40)
    expected = TfidfVectorizer(sublinear_tf=True, dtype=np.float32)
    vectors = WordVectors.fit(Documents(texts))
    made = expected.fit_transform(texts)
    assert vectors.terms == expected.get_feature_names_out().tolist()
    np.testing.assert_allclose(vectors.transform(Documents(texts)).toarray(), made.toarray(), atol=1e-6)
    new, _ = sentences(10, seed=1)
    got = vectors.transform(Documents(new))
    assert got.dtype == np.float32
    np.testing.assert_allclose(got.toarray(), expected.transform(new).toarray(), atol=1e-6)


@settings(max_examples=50, deadline=None)
@given(some_texts, some_texts)
def test_vectors_are_of_unit_length_or_zero(known: list[str], new: list[str]) -> None:
    vectors = WordVectors.fit(Documents(known))
    made = vectors.transform(Documents(new)).toarray()
    assert made.shape == (len(new), len(vectors.terms))
    assert (made >= 0.0).all()
    for length in np.linalg.norm(made, axis=1).tolist():
        assert length == 0.0 or length == pytest.approx(1.0, abs=1e-5)


def test_terms_and_weights_are_all_that_is_needed() -> None:
    texts, _ = sentences(40)
    new = Documents(sentences(10, seed=1)[0])
    fitted = WordVectors.fit(Documents(texts))
    rebuilt = WordVectors(list(fitted.terms), fitted.weights.copy())
    np.testing.assert_array_equal(rebuilt.transform(new).toarray(), fitted.transform(new).toarray())


def test_texts_without_a_known_word_get_zeros() -> None:
    vectors = WordVectors.fit(Documents(["the goal", "the soup"]))
    made = vectors.transform(Documents(["", "unknown words", "a b c", "goal"])).toarray()
    assert np.linalg.norm(made, axis=1).tolist() == pytest.approx([0.0, 0.0, 0.0, 1.0])


def test_no_words_at_all() -> None:
    for texts in (["", "!?"], ["a", "b"], []):
        vectors = WordVectors.fit(Documents(texts))
        assert vectors.terms == []
        assert vectors.weights.shape == (0,)
        assert vectors.transform(Documents(["the goal", ""])).shape == (2, 0)


def test_both_texts_of_a_pair_count() -> None:
    vectors = WordVectors.fit(Documents(["the goal", "the soup"], text_pairs=["late", "warm"]))
    assert {"goal", "soup", "late", "warm"} <= set(vectors.terms)
    pairs = vectors.transform(Documents(["goal"], text_pairs=["warm"]))
    np.testing.assert_array_equal(
        pairs.toarray(), vectors.transform(Documents(["warm"], text_pairs=["goal"])).toarray()
    )
