"""Fewer documents than there are: for learning curves, and for a first look."""

from dataclasses import replace

import numpy as np

from graphloss.data.documents import Documents, label_ids, label_names
from graphloss.data.splits import Splits


def fewer_labels(splits: Splits, labels_per_class: int, seed: int) -> tuple[Splits, Documents]:
    """Keep at most so many training documents of a class, drawn by `seed`; all of a class with fewer, and all without a
    label.

    Returns:
        The splits, and the training documents that are left out of them, with their labels.
    """
    ranks, ids = _ranks(splits.train, seed)
    kept = (ids < 0) | (ranks < labels_per_class)
    taken, rest = (splits.train.take(np.flatnonzero(rows).tolist()) for rows in (kept, ~kept))
    return replace(splits, train=taken), rest


def fewer_documents(splits: Splits, most: int, seed: int) -> Splits:
    """Splits of at most `most` documents each, drawn by `seed`, in which the classes have about the shares that they
    had; in training two documents of each class are kept before others are. Validation and test documents of a class
    that training lost are left out."""
    train = _cut(splits.train, most, seed, first=2)
    names = set(label_names(train))
    others = {}
    for split in ("validation", "test"):
        documents: Documents | None = getattr(splits, split)
        if documents is not None:
            labels = documents.labels or [None] * len(documents)
            known = [row for row, label in enumerate(labels) if label is None or label in names]
            others[split] = _cut(documents.take(known), most, seed, first=0)
    return Splits(train, **others)


def _cut(documents: Documents, most: int, seed: int, *, first: int) -> Documents:
    if len(documents) <= most:
        return documents
    ranks, ids = _ranks(documents, seed)
    _, inverse, sizes = np.unique(ids, return_inverse=True, return_counts=True)
    order = np.where((ranks < first) & (ids >= 0), -1.0, (ranks + 0.5) / sizes[inverse]).argsort(kind="stable")
    return documents.take(sorted(order[:most].tolist()))


def _ranks(documents: Documents, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """The place of each document among those of its class, in an order drawn by `seed`; and the class."""
    ids = np.asarray(label_ids(documents, label_names(documents)))
    order = np.random.default_rng(seed).permutation(len(ids))
    ranks = np.empty(len(ids), dtype=np.int64)
    for each in np.unique(ids):
        members = order[ids[order] == each]
        ranks[members] = np.arange(len(members))
    return ranks, ids
