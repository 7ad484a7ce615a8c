"""Data sets of the Hugging Face hub."""

from collections.abc import Mapping
from typing import Any

from graphloss.data.benchmarks import DATA_VARIABLE, Benchmark
from graphloss.data.documents import Documents
from graphloss.data.files import Columns, Table, documents_from
from graphloss.errors import InputError, Unavailable

SPLITS = ("train", "validation", "test")


def read_benchmark(benchmark: Benchmark) -> dict[str, Documents]:
    """The documents of a benchmark by split; see `read_hub`."""
    splits = dict(zip(SPLITS, SPLITS, strict=True)) if benchmark.test == "test" else {"train": "train"}
    splits["test"] = benchmark.test
    columns = Columns(benchmark.text, benchmark.label, benchmark.text_pair)
    return read_hub(benchmark.repository, columns, configuration=benchmark.configuration, splits=splits)


def read_hub(
    repository: str,
    columns: Columns,
    *,
    allow_unlabelled: bool = False,
    configuration: str | None = None,
    splits: Mapping[str, str] | None = None,
) -> dict[str, Documents]:
    """The documents of a data set by split.

    Args:
        repository: owner/name, or a folder in the form of the hub.
        columns: the names of its columns.
        allow_unlabelled: take training documents without a label as unlabelled.
        configuration: which of its data sets, where it has several.
        splits: its name of each of our splits; the same where not given.

    Raises:
        Unavailable: where it cannot be loaded.
        InputError: for everything that is wrong with it; there is always a split "train".
    """
    import datasets

    try:
        loaded = datasets.load_dataset(repository, configuration)
    except Exception as error:  # the hub client raises a dozen unrelated types
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise Unavailable(
            "data",
            f"data set {repository} could not be loaded from the hub ({reason}); check its name and the network, or "
            f"put its files into a folder that {DATA_VARIABLE} names",
        ) from None
    found = {}
    for split, theirs in (splits or dict(zip(SPLITS, SPLITS, strict=True))).items():
        if theirs in loaded:
            table = Table(_with_names(loaded[theirs], columns.label))
            allowed = allow_unlabelled and split == "train"
            found[split] = documents_from(table, f"{repository} {theirs}", columns, allow_unlabelled=allowed)
    if "train" not in found:
        raise InputError(f"data set {repository} has no split 'train'; it has {', '.join(loaded)}")
    return found


def _with_names(split: Any, label: str) -> dict[str, list]:
    columns = split.to_dict()
    feature = split.features.get(label)
    if hasattr(feature, "names") and feature.names:
        columns[label] = [None if index is None or index < 0 else feature.names[index] for index in columns[label]]
    return columns
