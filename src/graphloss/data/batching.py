"""Batches in which documents meet others of their class, for a loss that sees the minibatch as a graph.

Done in NumPy on the CPU, an epoch at a time: a hundred thousand documents take a fraction of a second.
"""

from collections import deque
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any, NamedTuple

import numpy as np
from torch.utils.data import Sampler

UNLABELLED = -100


class ClassAwareBatches(Sampler[list[int]]):
    """Batches of row numbers, for the `batch_sampler` of a DataLoader; each document comes once an epoch.

    The documents of a class are shuffled and cut into chunks; the chunks of a class are spread evenly over the epoch,
    and batches are filled from that sequence. A batch so holds about batch_size / documents_per_class chunks: a rare
    class whole, a large one in several places, about in proportion to its size. Documents without a label (-100) are
    no class; they are dealt out one by one, to the smallest batches first, at random.

    Guaranteed:

    - There are ceil(documents / batch_size) batches. None is larger than batch_size, or smaller than half the mean,
      rounded down.
    - Where twice as many documents are labelled as there are batches, no batch has fewer than two classes as long as
      at least as many labelled documents as batches are outside the largest class; else as few batches as possible
      have. (A batch of a single document has one class: all with batch_size 1, one with an odd number of documents
      and batch_size 2.)
    - The batches are a function of the labels, the settings, the seed and the epoch.

    Usual, not guaranteed:

    - Batch sizes differ by less than two chunks.
    - A chunk, and with it a class of at most documents_per_class documents, is in one batch. One is cut only where
      batches would get too large or too small, first of classes with many chunks. A document of a chunk may be
      exchanged to give a batch a second class.

    The state counts the batches given out. A DataLoader with workers, and accelerate's always, takes batches before
    they are used; a loop over one of those resumes by a state with its own count. Accelerate's starts at epoch 0: call
    its `set_epoch` too. In several processes, accelerate passes on only groups of batches that end in one of exactly
    batch_size documents, and loses the others.

    Args:
        labels: a class number for each document; -100 where there is no label.
        batch_size: the most documents in a batch.
        documents_per_class: the most documents in a chunk, from 1 (classes in proportion in each batch) to batch_size.
        seed: from 0; the only source of randomness, with the epoch.

    Raises:
        ValueError: where batch_size is below 1, or documents_per_class is not from 1 to batch_size.
    """

    drop_last = False  # accelerate reads it, and batch_size

    def __init__(self, labels: Sequence[int], batch_size: int, *, documents_per_class: int, seed: int = 0) -> None:
        if batch_size < 1:
            raise ValueError(f"batch_size must be at least 1, got {batch_size}")
        if not 1 <= documents_per_class <= batch_size:
            raise ValueError(
                f"documents_per_class must be from 1 to batch_size, {batch_size}, got {documents_per_class}"
            )
        self.labels = np.asarray(labels, dtype=np.int64)
        self.batch_size = batch_size
        self.documents_per_class = documents_per_class
        self.seed = seed
        self.epoch = 0
        self._given = 0
        self._resuming = False

    def __len__(self) -> int:
        """Batches in a whole epoch, also where the next one is resumed in its middle."""
        return -(-len(self.labels) // self.batch_size)

    def __iter__(self) -> Iterator[list[int]]:
        if not self._resuming:
            self._given = 0
        self._resuming = False
        for batch in self._batches()[self._given :]:
            self._given += 1
            yield batch

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch, from 0. Another one than that of a loaded state starts at its first batch."""
        if epoch != self.epoch:
            self.epoch, self._given, self._resuming = epoch, 0, False

    def state_dict(self) -> dict[str, int]:
        """The epoch, and how many of its batches have been given out."""
        return {"epoch": self.epoch, "batch": self._given}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Let the next iteration, and only that, go on after the batches that the state counts."""
        self.epoch, self._given, self._resuming = state["epoch"], state["batch"], True

    def _batches(self) -> list[list[int]]:
        """The batches of the epoch."""
        if len(self) == 0:
            return []
        generator = np.random.default_rng((self.seed, self.epoch))
        rows = generator.permutation(len(self.labels))
        labelled = rows[self.labels[rows] != UNLABELLED]
        unlabelled = rows[self.labels[rows] == UNLABELLED]
        _, classes = np.unique(self.labels[labelled], return_inverse=True)
        by_class = classes.argsort(kind="stable")
        labelled, classes = labelled[by_class], classes[by_class]

        chunks = _spread_chunks(np.bincount(classes), self.documents_per_class, generator)
        places = _fill(chunks, len(labelled), len(self), self.batch_size)
        _exchange(classes, places, len(self), generator)
        sizes = np.bincount(places, minlength=len(self))
        places = np.concatenate([places, _level(sizes, len(unlabelled), self.batch_size)])

        rows = np.concatenate([labelled, unlabelled])[places.argsort(kind="stable")]
        ends = np.bincount(places, minlength=len(self)).cumsum()
        return [batch.tolist() for batch in np.split(rows, ends[:-1])]


class SharedBatches(Sampler[list[int]]):
    """What one of several processes takes of each batch: a stretch of it, all of nearly equal length.

    Every document is in one stretch; where a batch has fewer documents than there are processes, some are empty.

    Args:
        batches: of all processes together, the same in each.
        index: of the process, from 0.
        count: of processes.
    """

    drop_last = False  # accelerate reads it, and batch_size

    def __init__(self, batches: Sampler[list[int]], index: int, count: int) -> None:
        self.batches, self.index, self.count = batches, index, count
        self.batch_size = -(-batches.batch_size // count)  # type: ignore[attr-defined]

    def __len__(self) -> int:
        return len(self.batches)  # type: ignore[arg-type]

    def __iter__(self) -> Iterator[list[int]]:
        for batch in self.batches:
            yield np.array_split(np.asarray(batch, dtype=np.int64), self.count)[self.index].tolist()

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch, from 0."""
        holder: Any = self.batches if hasattr(self.batches, "set_epoch") else getattr(self.batches, "sampler", None)
        if hasattr(holder, "set_epoch"):
            holder.set_epoch(epoch)


class _Chunk(NamedTuple):
    """Documents start to stop, in the order of the classes, of a class cut into so many chunks."""

    start: int
    stop: int
    siblings: int


def _spread_chunks(counts: np.ndarray, documents_per_class: int, generator: np.random.Generator) -> list[_Chunk]:
    """Cut classes of (C,) documents into chunks and order them such that those of each class are evenly spread.

    Each chunk has a place at random within its share of the epoch: were it the same within all shares of a class,
    classes with as many chunks would meet the same neighbours all through the epoch.
    """
    siblings = -(-counts // documents_per_class)
    owner = np.repeat(np.arange(len(counts)), siblings)
    number = np.arange(len(owner)) - (siblings.cumsum() - siblings)[owner]
    starts = (counts.cumsum() - counts)[owner] + number * documents_per_class
    stops = np.minimum(starts + documents_per_class, counts.cumsum()[owner])
    # the last chunk of a class, which may be smaller, is not to come last in the epoch
    turned = (number + generator.integers(0, siblings)[owner]) % siblings[owner]
    order = ((turned + generator.random(len(owner))) / siblings[owner]).argsort()
    columns = (starts[order].tolist(), stops[order].tolist(), siblings[owner][order].tolist())
    return [_Chunk(*values) for values in zip(*columns, strict=True)]


def _fill(chunks: list[_Chunk], documents: int, batches: int, batch_size: int) -> np.ndarray:
    """(documents,) the number of the batch of each document: chunks in their order, each batch up to its share.

    A batch ends at the border of chunks next to its share of the documents left, and within a chunk only where what
    is left would not fit into the batches left.
    """
    places = np.empty(documents, dtype=np.int64)
    smallest = max(min(2, documents // batches), documents // batches // 2)  # two, for two classes
    waiting = deque(chunks)
    left = documents
    for batch in range(batches):
        after = batches - batch - 1
        share = -(-left // (after + 1))
        least = max(left - after * batch_size, smallest)
        most = min(left - after * smallest, batch_size)
        size = 0
        while waiting:
            length = waiting[0].stop - waiting[0].start
            if size + length <= most and 2 * size + length <= 2 * share:
                chunk = waiting.popleft()
            elif size < least:
                chunk = _take_out_of_turn(waiting, most - size, share - size, batch_size)
            else:
                break
            places[chunk.start : chunk.stop] = batch
            size += chunk.stop - chunk.start
        left -= size
    return places


def _take_out_of_turn(waiting: deque[_Chunk], room: int, missing: int, ahead: int) -> _Chunk:
    """One of the next chunks: one that fits into the room; else what is missing, of the class with most chunks."""
    candidates = list(islice(waiting, ahead))
    fits = [chunk.stop - chunk.start <= room for chunk in candidates]
    index = max(range(len(candidates)), key=lambda index: (fits[index], candidates[index].siblings))
    chunk = candidates[index]
    if fits[index]:
        del waiting[index]
        return chunk
    border = chunk.start + missing
    waiting[index] = chunk._replace(start=border)
    return chunk._replace(stop=border)


def _exchange(classes: np.ndarray, places: np.ndarray, batches: int, generator: np.random.Generator) -> None:
    """Exchange single documents until as few batches of two or more documents as possible are of one class.

    Args:
        classes: (n,) the class of each document, from 0, ascending.
        places: (n,) the batch of each document, from 0; changed in place.
    """
    counts = np.bincount(classes)
    pairs = np.unique(places * len(counts) + classes)
    alone = np.bincount(pairs // len(counts), minlength=batches)[pairs // len(counts)] == 1
    for number in np.unique(pairs[alone] % len(counts)).tolist():
        _open_batches(number, classes, places, batches, generator.permutation(len(classes)))


def _open_batches(number: int, classes: np.ndarray, places: np.ndarray, batches: int, order: np.ndarray) -> None:
    """Give each batch that is all of the class of this number a document of another class, for one of its own.

    It comes from a batch with a further one, which so keeps two classes. If there is none, all other batches hold a
    single document of another class: no exchange could help.

    Args:
        order: (n,) the documents in random order; those of the largest classes are taken first in any case, as a
            rare class would feel the loss.
    """
    members = np.flatnonzero(classes == number)
    others = np.bincount(places[classes != number], minlength=batches)
    sizes = np.bincount(places, minlength=batches)
    host = np.empty(batches, dtype=np.int64)
    host[places[members]] = members  # any one a batch
    order = order[(classes[order] != number) & (others[places[order]] > 1)]
    guests = iter(order[(-np.bincount(classes)[classes[order]]).argsort(kind="stable")])
    for batch in np.flatnonzero((others == 0) & (sizes > 1)):
        guest = next((guest for guest in guests if others[places[guest]] > 1), None)
        if guest is None:
            return
        others[places[guest]] -= 1
        places[guest], places[host[batch]] = batch, places[guest]


def _level(sizes: np.ndarray, documents: int, batch_size: int) -> np.ndarray:
    """(documents,) the batches, of (batches,) documents, that get one more each, the smallest first."""
    free = np.arange(batch_size)[:, None] >= sizes
    return np.nonzero(free)[1][:documents]
