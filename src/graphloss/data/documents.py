"""Labelled texts, and where each of them came from."""

from collections import Counter
from dataclasses import dataclass, replace
from typing import Any

from graphloss.errors import InputError


@dataclass(frozen=True)
class Documents:
    """Texts with their labels.

    Attributes:
        texts: n texts.
        labels: n names of labels, None where a document has none; None if the source has no labels at all.
        text_pairs: n second texts, or None.
        source: the file or data set, for messages.
        lines: the line of the file at which each document starts, or None.
    """

    texts: list[str]
    labels: list[str | None] | None = None
    text_pairs: list[str] | None = None
    source: str = "documents"
    lines: list[int] | None = None

    def __len__(self) -> int:
        return len(self.texts)

    @property
    def whole_texts(self) -> list[str]:
        """n texts, each with its second text, if there is one, in the next line."""
        if self.text_pairs is None:
            return self.texts
        return [f"{text}\n{pair}" for text, pair in zip(self.texts, self.text_pairs, strict=True)]

    def place(self, row: int) -> str:
        """Where document `row` (from 0) stands, for a person: rows are counted from 1, without a header."""
        line = f" (line {self.lines[row]})" if self.lines else ""
        return f"{self.source}, row {row + 1}{line}"

    def take(self, rows: list[int]) -> "Documents":
        """The documents at `rows` (from 0), in that order."""

        def pick(column: list[Any] | None) -> list[Any] | None:
            return None if column is None else [column[row] for row in rows]

        texts = [self.texts[row] for row in rows]
        return replace(
            self, texts=texts, labels=pick(self.labels), text_pairs=pick(self.text_pairs), lines=pick(self.lines)
        )


def label_names(documents: Documents) -> list[str]:
    """The names of the labels, in order: by value where all are integers, else by alphabet."""
    names = {name for name in documents.labels or [] if name is not None}
    if all(name.lstrip("-").isdecimal() for name in names):
        return sorted(names, key=int)
    return sorted(names)


def label_ids(documents: Documents, names: list[str]) -> list[int]:
    """Labels as positions in `names`; -100 where a document has none.

    Raises:
        InputError: for a label that is not among the names.
    """
    position = {name: index for index, name in enumerate(names)}
    ids = []
    for row, name in enumerate(documents.labels or [None] * len(documents)):
        if name is not None and name not in position:
            raise InputError(
                f"{documents.place(row)}: label {name!r} does not occur in training, where the labels are "
                f"{listed(names)}; correct it or take the row out"
            )
        ids.append(-100 if name is None else position[name])
    return ids


def single_labels(documents: Documents) -> list[str]:
    """Labels that one document only has, in order. They stay in training, and out of a stratified cut."""
    return sorted(name for name, count in _label_counts(documents).items() if count == 1)


def check_classes(documents: Documents) -> None:
    """Refuse documents that nothing can be learned from.

    Raises:
        InputError: where fewer than two classes have two documents.
    """
    counts = _label_counts(documents)
    if sum(count >= 2 for count in counts.values()) < 2:
        found = ", ".join(f"{name!r}: {count}" for name, count in counts.most_common(5)) or "none"
        raise InputError(
            f"{documents.source}: training needs two classes with two documents each, found {found}; add documents"
        )


def _label_counts(documents: Documents) -> Counter[str]:
    return Counter(name for name in documents.labels or [] if name is not None)


def listed(names: list[str], most: int = 8) -> str:
    """A short list of names for a message."""
    shown = ", ".join(repr(name) for name in names[:most])
    return shown + (f" and {len(names) - most} more" if len(names) > most else "")
