"""Documents without a label: which may join the training documents, and how they share batches with them."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

import numpy as np
from torch.utils.data import Sampler

from graphloss.data.documents import Documents
from graphloss.data.splits import Splits
from graphloss.errors import InputError

UNLABELLED = -100


def add_unlabelled(splits: Splits, documents: Documents, *, strict: bool, say: Callable[[str], None]) -> Splits:
    """Put documents without a label among the training documents.

    Those whose text also stands in validation or test are left out, whatever the case and the white space: the graph
    would move what it is measured on. So are those that stand in training already.

    Args:
        splits: of the run.
        documents: their labels, if any, are not looked at.
        strict: refuse them instead, where they stand in validation or test.
        say: told, in one line, how many were left out, and which.

    Raises:
        InputError: in that case; where text pairs are missing, or given and not expected; where nothing remains.
    """
    train = splits.train
    if (train.text_pairs is None) != (documents.text_pairs is None):
        raise InputError(f"{documents.source}: a column of text pairs must stand in all files or in none")
    held_out = _keys(splits.validation) | (_keys(splits.test) if splits.test is not None else set())
    keys, seen = _key_list(documents), _keys(train)
    leaked = [row for row, key in enumerate(keys) if key in held_out]
    if leaked:
        rows = ", ".join(str(row + 1) for row in leaked[:5]) + (", ..." if len(leaked) > 5 else "")
        found = f"{documents.source}: {len(leaked):,} of {len(documents):,} documents also stand in validation or test"
        if strict:
            raise InputError(f"{found} (rows {rows}); take them out, or leave --strict out to have them dropped")
        say(f"note: {found} and are left out (rows {rows})")
    kept = [row for row, key in enumerate(keys) if key not in held_out and key not in seen]
    if not kept:
        raise InputError(f"{documents.source}: no document remains that does not stand in another file")
    added = documents.take(kept)
    pairs = None if train.text_pairs is None else train.text_pairs + (added.text_pairs or [])
    labels = list(train.labels or []) + [None] * len(added)
    return replace(splits, train=Documents(train.texts + added.texts, labels, pairs, source=train.source))


def _keys(documents: Documents) -> set[str]:
    return set(_key_list(documents))


def _key_list(documents: Documents) -> list[str]:
    pairs = documents.text_pairs or [""] * len(documents)
    return [
        "\0".join(" ".join(part.split()).casefold() for part in parts)
        for parts in zip(documents.texts, pairs, strict=True)
    ]


class MixedBatches(Sampler[list[int]]):
    """Batches of labelled documents, filled up with unlabelled ones; for the `batch_sampler` of a DataLoader.

    An epoch takes each labelled document once. A batch has room for a share of unlabelled documents, which fill it up
    as training goes on; they are taken in turn, each once before any twice. Batches are a function of the labels, the
    settings, the seed and the epoch: accelerate's skipping of batches resumes it.

    Args:
        labels: a class number for each document; -100 where there is no label.
        batch_size: documents in a batch at most.
        share: of the batch that is kept for unlabelled documents, from 0 to below 1.
        ramp_up: batches over which they come to fill that share.
        seed: the only source of randomness, with the epoch.

    Raises:
        ValueError: for no labelled document.
    """

    drop_last = False  # accelerate reads it, and batch_size

    def __init__(
        self, labels: Sequence[int], batch_size: int, *, share: float, ramp_up: int = 0, seed: int = 0
    ) -> None:
        given = np.asarray(labels, dtype=np.int64)
        self.labelled = np.flatnonzero(given != UNLABELLED)
        self.unlabelled = np.flatnonzero(given == UNLABELLED)
        if not len(self.labelled):
            raise ValueError("there must be a document with a label")
        self.batch_size = batch_size
        self.room = min(round(share * batch_size), batch_size - 1) if len(self.unlabelled) else 0
        self.ramp_up = ramp_up
        self.seed = seed
        self.epoch = 0

    def __len__(self) -> int:
        return -(-len(self.labelled) // (self.batch_size - self.room))

    def __iter__(self) -> Iterator[list[int]]:
        generator = np.random.default_rng((self.seed, self.epoch))
        labelled = np.array_split(generator.permutation(self.labelled), len(self))
        first = self.epoch * len(self)
        for number, rows in enumerate(labelled, start=first):
            yield [*rows.tolist(), *self._others(number)]

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch, from 0."""
        self.epoch = epoch

    def _others(self, number: int) -> list[int]:
        """The unlabelled documents of a batch, counted from the first of all epochs."""
        if not self.room:
            return []
        counts = [self._count(each) for each in range(min(number, self.ramp_up) + 1)]
        before = sum(counts[:-1]) + max(number - self.ramp_up, 0) * self.room if number else 0
        places = before + np.arange(self._count(number))
        rounds = places // len(self.unlabelled)
        orders = {
            turn: np.random.default_rng((self.seed, 1 + turn, 0)).permutation(self.unlabelled)
            for turn in np.unique(rounds).tolist()
        }
        return [
            int(orders[turn][place % len(self.unlabelled)]) for turn, place in zip(rounds.tolist(), places, strict=True)
        ]

    def _count(self, number: int) -> int:
        grown = 1.0 if number >= self.ramp_up else number / self.ramp_up
        return round(grown * self.room)
