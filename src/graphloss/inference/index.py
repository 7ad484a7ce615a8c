"""The training documents of a run, kept so that new documents can be compared with them and hear their labels."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int
from scipy.sparse import csr_matrix
from torch import Tensor

from graphloss.data.documents import Documents
from graphloss.data.words import WordVectors
from graphloss.errors import InputError
from graphloss.graph.affinity import scale_to_unit
from graphloss.graph.induction import one_hot

EXACT = 50_000  # documents; beyond, a new one is compared with its nearest
NEAREST = 1_000
NEAREST_FILE = "nearest.faiss"
TILE = 2_000_000  # similarities at once: more would leave the caches


class Views(NamedTuple):
    """Documents as the two affinities see them.

    Attributes:
        embeddings: (n, d) float32 of unit length.
        words: (n, V) float32 TF-IDF vectors of unit length.
    """

    embeddings: Float[Tensor, "n d"]
    words: csr_matrix


class Similarities(NamedTuple):
    """Cosines of n documents with labelled ones.

    Attributes:
        values: (n, N), or (n, k) with their k nearest.
        documents: (n, k), which these are; None for all N in their order.
    """

    values: Float[Tensor, "n N"]
    documents: Int[Tensor, "n N"] | None


@dataclass
class Index:
    """N documents with what they tell others, and what is needed to compare others with them.

    Attributes:
        embeddings: (N, d) float32 of unit length.
        words: (N, V) float32 TF-IDF vectors of unit length.
        labels: (N,) int64 positions in `names`; -100 for a document without a label.
        documents: their texts.
        names: of the C classes.
        vectors: that make the TF-IDF vectors of other documents.
        targets: (N, C) float32, what they tell others: their label; where they have none, what is thought of them.
        folder: that it was read from, if it was.
    """

    embeddings: Float[Tensor, "N d"]
    words: csr_matrix
    labels: Int[Tensor, " N"]
    documents: Documents
    names: list[str]
    vectors: WordVectors
    targets: Float[Tensor, "N C"]
    folder: Path | None = None

    @classmethod
    def build(
        cls,
        documents: Documents,
        labels: list[int],
        names: list[str],
        embeddings: Float[Tensor, "n d"],
        *,
        opinions: Float[Tensor, "n C"] | None = None,
        most: int = 0,
        seed: int = 0,
    ) -> tuple["Index", Int[Tensor, " N"]]:
        """Index documents.

        Args:
            documents: n training documents.
            labels: their n classes, -100 for none.
            names: of the classes.
            embeddings: (n, d) float, of any length.
            opinions: (n, C) what the head thinks of each document; those without a label are then kept, too. None for
                labelled documents alone.
            most: documents kept, labelled ones first, drawn at random by `seed`; 0 for all.
            seed: of the draw.

        Returns:
            The index, and the row numbers of its documents among the n.

        Raises:
            InputError: for embeddings that are not finite.
        """
        chosen = np.flatnonzero(np.asarray(labels) >= 0) if opinions is None else np.arange(len(labels))
        if 0 < most < len(chosen):
            drawn = np.random.default_rng(seed).permutation(chosen)
            labelled_first = (np.asarray(labels)[drawn] < 0).argsort(kind="stable")
            chosen = np.sort(drawn[labelled_first][:most])
        rows = torch.from_numpy(chosen)
        kept = documents.take(chosen.tolist())
        kept_labels, vectors = torch.tensor(labels)[rows], WordVectors.fit(kept)
        targets = one_hot(kept_labels, len(names))
        if opinions is not None:
            targets = torch.where((kept_labels >= 0)[:, None], targets, opinions[rows].float())
        index = cls(
            embeddings=unit_embeddings(embeddings[rows]),
            words=vectors.transform(kept),
            labels=kept_labels,
            documents=kept,
            names=names,
            vectors=vectors,
            targets=targets,
        )
        return index, rows

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def exact(self) -> bool:
        """Whether others are compared with every document, and not with the nearest ones alone."""
        return len(self) <= EXACT

    @property
    def labelled(self) -> Int[Tensor, " l"]:
        """Row numbers of the documents that have a label."""
        return torch.nonzero(self.labels >= 0)[:, 0]

    def take(self, rows: Int[Tensor, " r"]) -> "Index":
        """The index of some of the documents."""
        return replace(
            self,
            embeddings=self.embeddings[rows],
            words=self.words[rows.numpy()],
            labels=self.labels[rows],
            documents=self.documents.take(rows.tolist()),
            targets=self.targets[rows],
            folder=None,
        )

    def views(self, documents: Documents, embeddings: Float[Tensor, "n d"]) -> Views:
        """n other documents as the affinities see them, given their embeddings of any length."""
        return Views(unit_embeddings(embeddings), self.vectors.transform(documents))

    def tiles(self, size: int) -> Iterator[slice]:
        """Rows of `size` documents, so many at a time that their similarities stay small."""
        step = max(TILE // len(self), 1)
        return (slice(start, min(start + step, size)) for start in range(0, size, step))

    def by_embedding(self, views: Views) -> Similarities:
        """Cosines of the embeddings of a tile of documents with those of the index."""
        if self.exact:
            return Similarities(views.embeddings @ self.embeddings.T, None)
        values, documents = self.nearest.search(views.embeddings.numpy(), NEAREST)
        found = documents >= 0
        return Similarities(*map(torch.from_numpy, (np.where(found, values, -np.inf), np.where(found, documents, 0))))

    def by_words(self, views: Views) -> Similarities:
        """Cosines of the TF-IDF vectors of a tile of documents with those of the index; -inf throughout for a document
        that shares no term with any."""
        products = views.words @ self._documents_by_word
        if self.exact:
            all_values = torch.from_numpy(products.toarray())
            all_values[torch.from_numpy(np.diff(products.indptr) == 0)] = -torch.inf
            return Similarities(all_values, None)
        values = np.full((products.shape[0], NEAREST), -np.inf, dtype=np.float32)
        documents = np.zeros((products.shape[0], NEAREST), dtype=np.int64)
        for row, (start, stop) in enumerate(pairwise(products.indptr)):
            found = products.data[start:stop]
            best = np.argpartition(-found, NEAREST)[:NEAREST] if len(found) > NEAREST else np.arange(len(found))
            values[row, : len(best)] = found[best]
            documents[row, : len(best)] = products.indices[start:stop][best]
        return Similarities(torch.from_numpy(values), torch.from_numpy(documents))

    @cached_property
    def _documents_by_word(self) -> csr_matrix:
        return self.words.T.tocsr()

    @cached_property
    def nearest(self) -> Any:
        """What finds the nearest documents by their embeddings, in an index too large to compare with all of it.

        Raises:
            InputError: without faiss.
        """
        try:
            import faiss
        except ImportError:
            raise InputError(
                f"an index of {len(self):,} documents needs faiss to find the nearest ones (pip install faiss-cpu); or "
                f"keep at most {EXACT:,} with --index_size"
            ) from None
        if self.folder is not None and (self.folder / NEAREST_FILE).exists():
            return faiss.read_index(str(self.folder / NEAREST_FILE))
        points = self.embeddings.numpy()
        cells = int(4 * len(self) ** 0.5)
        index: Any = faiss.index_factory(points.shape[1], f"IVF{cells},Flat", faiss.METRIC_INNER_PRODUCT)
        index.cp.max_points_per_centroid = 64
        index.train(points)
        index.add(points)
        index.nprobe = max(cells // 32, 8)
        return index


def unit_embeddings(embeddings: Float[Tensor, "n d"]) -> Float[Tensor, "n d"]:
    """Embeddings in float32 and of unit length.

    Raises:
        InputError: where some are not finite.
    """
    try:
        return scale_to_unit(embeddings.float())
    except ValueError as error:
        raise InputError(str(error)) from None
