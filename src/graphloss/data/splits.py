"""Training, validation and test documents: from files, from a folder, from a data set by name."""

import os
import re
from dataclasses import dataclass
from pathlib import Path

import torch

from graphloss.data.benchmarks import BENCHMARKS, DATA_VARIABLE, check_rows
from graphloss.data.documents import Documents, check_classes, label_ids, label_names
from graphloss.data.files import SUFFIXES, Columns, read_documents
from graphloss.data.hub import SPLITS, read_benchmark, read_hub
from graphloss.errors import InputError
from graphloss.graph.masking import split_batch


@dataclass(frozen=True)
class Splits:
    """Documents to train on, to choose by, and to report on."""

    train: Documents
    validation: Documents
    test: Documents | None = None


def read_splits(
    *,
    data: str | None = None,
    train: str | None = None,
    validation: str | None = None,
    test: str | None = None,
    columns: Columns | None = None,
    allow_unlabelled: bool = False,
    validation_fraction: float = 0.1,
    seed: int = 0,
) -> Splits:
    """Read the documents of a run.

    Args:
        data: a folder with train, validation and test files; the name of one of `benchmarks.BENCHMARKS`, looked for in
            the folder that the variable GRAPHLOSS_DATA names and then on the Hugging Face hub; or the name of a data
            set on the hub.
        train, validation, test: files, instead of `data`.
        columns: the names of the columns.
        allow_unlabelled: take training documents with an empty label as unlabelled.
        validation_fraction: where there is no validation split, this share of the labelled training documents is cut
            off, stratified, by `seed`.

    Raises:
        InputError: for everything that is wrong with them.
    """
    columns = columns or Columns()
    if (data is None) == (train is None):
        raise InputError("give the documents either as --train FILE or as --data FOLDER-or-name")
    if data is not None:
        if validation or test:
            raise InputError("--validation and --test go with --train; --data brings its own splits")
        found = read_all(data, columns, allow_unlabelled=allow_unlabelled)
    else:
        paths = {"train": train, "validation": validation, "test": test}
        found = {
            split: read_documents(path, columns, allow_unlabelled=allow_unlabelled and split == "train")
            for split, path in paths.items()
            if path is not None
        }
    check_classes(found["train"])
    if "validation" not in found:
        found["train"], found["validation"] = cut_validation(found["train"], validation_fraction, seed)
    return Splits(found["train"], found["validation"], found.get("test"))


def cut_validation(documents: Documents, fraction: float, seed: int) -> tuple[Documents, Documents]:
    """Cut a validation split off training documents: stratified, at random by `seed`, in the order of the file.

    The only document of a class and documents without a label stay in training.

    Raises:
        InputError: where `fraction` is not between 0 and 1.
    """
    if not 0.0 < fraction < 1.0:
        raise InputError(f"--validation_fraction must lie between 0 and 1, got {fraction}")
    labels = torch.tensor(label_ids(documents, label_names(documents)))
    generator = torch.Generator().manual_seed(seed)
    [(_, cut)] = split_batch(labels, 1.0 - fraction, "stratified", generator)
    held_out = set(cut.tolist())
    kept = [row for row in range(len(documents)) if row not in held_out]
    return documents.take(kept), documents.take(sorted(held_out))


def read_all(data: str, columns: Columns, *, allow_unlabelled: bool = False) -> dict[str, Documents]:
    """The documents of a folder, a benchmark or a data set on the hub, by split; see `read_splits`.

    Raises:
        InputError: for everything that is wrong with them; there is always a split "train".
    """
    folder = folder_of(data)
    if folder is not None and folder == Path(data):
        return _read_folder(folder, columns, allow_unlabelled)
    if Path(data).is_file():
        raise InputError(f"{data} is a file where a folder is due; give a single file as --train")
    name = data.lower()
    if name in BENCHMARKS:
        here = folder and _read_folder(folder, columns, allow_unlabelled)
        found = here or read_benchmark(BENCHMARKS[name])
        check_rows(name, {split: len(documents) for split, documents in found.items()})
        return found
    if re.fullmatch(r"[\w-][\w.-]*/[\w.-]+", data):
        return read_hub(data, columns, allow_unlabelled=allow_unlabelled)
    raise InputError(
        f"--data {data}: neither a folder, nor a benchmark ({', '.join(BENCHMARKS)}), nor a data set on the hub "
        "(owner/name); check the path"
    )


def folder_of(data: str) -> Path | None:
    """The folder on this machine that `read_all` reads a data set from; None where it would ask the hub."""
    if Path(data).is_dir():
        return Path(data)
    named = os.environ.get(DATA_VARIABLE)
    folder = Path(named or "") / data.lower()
    return folder if named and data.lower() in BENCHMARKS and folder.is_dir() else None


def _read_folder(folder: Path, columns: Columns, allow_unlabelled: bool) -> dict[str, Documents]:
    found = {}
    for split in SPLITS:
        files = [folder / (split + suffix) for suffix in SUFFIXES if (folder / (split + suffix)).exists()]
        if len(files) > 1:
            raise InputError(f"{folder} holds {' and '.join(file.name for file in files)}; keep one of them")
        if files:
            allowed = allow_unlabelled and split == "train"
            found[split] = read_documents(files[0], columns, allow_unlabelled=allowed)
    if "train" not in found:
        raise InputError(f"{folder} holds no train{'|'.join(SUFFIXES)}; name the file of training documents so")
    return found
