"""The documents of a run, with their classes as numbers."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from graphloss.data.documents import Documents, check_classes, label_ids, label_names, listed, single_labels
from graphloss.data.files import read_documents
from graphloss.data.splits import Splits, read_splits
from graphloss.data.subsets import fewer_documents, fewer_labels
from graphloss.data.unlabelled import add_unlabelled
from graphloss.run.config import RunConfig


@dataclass(frozen=True)
class LabelledSplits:
    """Training, validation and, if there are any, test documents.

    Attributes:
        splits: the documents.
        names: of the classes of the training documents, in order.
        ids: by split, the positions of the labels in `names`; -100 for a document without one.
    """

    splits: Splits
    names: list[str]
    ids: dict[str, list[int]]

    @classmethod
    def of(cls, splits: Splits, say: Callable[[str], None]) -> "LabelledSplits":
        """Number the classes.

        Raises:
            InputError: for labels that the training documents do not have.
        """
        names = label_names(splits.train)
        single = single_labels(splits.train)
        if single:
            say(f"note: one training document only for {listed(single)}; the graph cannot check these labels")
        ids = {"train": label_ids(splits.train, names), "validation": label_ids(splits.validation, names)}
        if splits.test is not None:
            ids["test"] = label_ids(splits.test, names)
        return cls(splits, names, ids)

    @cached_property
    def scored(self) -> list[str]:
        """The splits that a classifier is scored on."""
        return [split for split in self.ids if split != "train"]

    @property
    def smallest_class(self) -> int:
        """The number of training documents of the class with the fewest."""
        labels = np.asarray(self.ids["train"])
        return int(np.bincount(labels[labels >= 0], minlength=len(self.names)).min())

    def documents(self, split: str) -> Documents:
        """The documents of a split."""
        documents: Documents = getattr(self.splits, split)
        return documents


def read_documents_of(config: RunConfig, say: Callable[[str], None]) -> Splits:
    """The documents that the settings name, unlabelled ones among the training documents.

    Raises:
        InputError: where they cannot be read or do not suit.
    """
    data = config.data
    splits = read_splits(
        data=data.data,
        train=data.train,
        validation=data.validation,
        test=data.test,
        columns=data.columns,
        allow_unlabelled=data.allow_unlabelled,
        validation_fraction=data.validation_fraction,
        seed=config.training.seed,
    )
    if data.max_documents:
        splits = fewer_documents(splits, data.max_documents, config.training.seed)
    unlabelled = []
    if data.labels_per_class:
        splits, rest = fewer_labels(splits, data.labels_per_class, config.training.seed)
        if data.rest_unlabelled and len(rest):
            unlabelled.append(rest)
    check_classes(splits.train)
    if data.unlabelled is not None:
        unlabelled.append(read_documents(data.unlabelled, data.columns, labels="optional"))
    for documents in unlabelled:
        splits = add_unlabelled(splits, documents, strict=data.strict, say=say)
    return splits
