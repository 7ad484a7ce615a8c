"""Texts as weighted bags of words: a view of the whole text, however few tokens the encoder takes of it."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from jaxtyping import Float
from scipy.sparse import csr_matrix

from graphloss.data.documents import Documents


@dataclass(frozen=True)
class WordVectors:
    """TF-IDF: the words of training documents, and their weights.

    Single words: with pairs of neighbouring words beside them the vectors of two documents on one subject are less
    alike, and labels handed on over them were less often right (docs/log.md).

    Attributes:
        terms: V words, by their column.
        weights: (V,) float, the inverse document frequency of each.

    Source: Salton & Buckley (1988); smoothed and with logarithmic counts, as scikit-learn does it.
    """

    terms: list[str]
    weights: Float[np.ndarray, " V"]

    @classmethod
    def fit(cls, documents: Documents) -> "WordVectors":
        """Take the words of documents; of those with pairs, of both texts."""
        vectorizer = _vectorizer()
        try:
            vectorizer.fit(documents.whole_texts)
        except ValueError:  # no text has a word
            return cls([], np.zeros(0, dtype=np.float32))
        return cls(list(vectorizer.get_feature_names_out()), vectorizer.idf_.astype(np.float32))

    def transform(self, documents: Documents) -> csr_matrix:
        """(n, V) float32 vectors of n documents, of unit length; zero where a text has none of the terms."""
        if not self.terms:
            return csr_matrix((len(documents), 0), dtype=np.float32)
        return self._fitted.transform(documents.whole_texts).astype(np.float32, copy=False)

    @cached_property
    def _fitted(self) -> Any:
        vectorizer = _vectorizer(vocabulary={term: column for column, term in enumerate(self.terms)})
        vectorizer.idf_ = self.weights
        return vectorizer


def _vectorizer(**settings: Any) -> Any:
    from sklearn.feature_extraction.text import TfidfVectorizer  # when first asked for: a run should start without it

    return TfidfVectorizer(sublinear_tf=True, dtype=np.float32, **settings)
