"""The examples run, on real texts, and do what they say."""

import inspect
import runpy
from pathlib import Path

import numpy as np
import pytest
import torch

from graphloss import TextClassifier
from graphloss.data import docstrings
from graphloss.data.docstrings import docstring_splits
from graphloss.models.encoder import load_encoder

EXAMPLES = Path(__file__).parents[1] / "examples"


@pytest.mark.slow
def test_the_bare_loop_of_fifteen_lines_learns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(docstrings, "CANDIDATES", 10)  # fewer files to read
    train = runpy.run_path(str(EXAMPLES / "own_loop.py"))["train"]
    body = inspect.getsource(train).splitlines()[2:]
    assert len([line for line in body if line.strip()]) <= 15
    documents = docstring_splits(classes=8, training=8, validation=1, test=1).train
    torch.manual_seed(0)
    texts = [text[:80] for text in documents.texts]
    losses = train(texts, documents.labels, load_encoder("minilm").location, epochs=6)
    assert np.mean(losses[-2:]) < 0.8 * np.mean(losses[:2])


@pytest.mark.slow
def test_a_grid_search_finds_a_classifier() -> None:
    search = runpy.run_path(str(EXAMPLES / "sklearn_grid_search.py"))["search"]
    splits = docstring_splits(classes=4, training=12, validation=1, test=12)
    found = search(TextClassifier(max_length=32), splits.train.texts, splits.train.labels)
    assert splits.test is not None
    assert found.score(splits.test.texts, splits.test.labels) > 0.6  # of four classes
