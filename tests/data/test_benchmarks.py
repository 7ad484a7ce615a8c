"""The real data sets, where the variable GRAPHLOSS_DATA names a folder that has them."""

import os
from pathlib import Path

import pytest

from graphloss.data.benchmarks import BENCHMARKS
from graphloss.data.documents import label_names, single_labels
from graphloss.data.splits import read_splits

FOLDER = Path(os.environ.get("GRAPHLOSS_DATA", "nowhere"))
CLASSES = {"mr": 2, "r8": 8, "r52": 52, "ohsumed": 23, "20ng": 20}


@pytest.mark.parametrize("name", BENCHMARKS)
def test_published_splits(name: str) -> None:
    if not (FOLDER / name).is_dir():
        pytest.skip(f"the variable GRAPHLOSS_DATA names no folder with {name}")
    splits = read_splits(data=name)
    assert len(label_names(splits.train)) == CLASSES[name]
    if name == "r52":
        assert len(single_labels(splits.train)) == 4
