"""How long a run will take, roughly."""

import copy
import time
from collections import Counter
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from transformers import IntervalStrategy

from graphloss.data.benchmarks import BENCHMARKS
from graphloss.data.files import Columns
from graphloss.data.splits import folder_of, read_all
from graphloss.experiments.plan import Planned
from graphloss.training.config import TrainingConfig

# Weights of the layers of the encoders that the paper names and of minilm, those of the token embeddings apart.
WEIGHTS = {
    "minilm": 10.6e6,
    "bert-base-uncased": 85.1e6,
    "distilbert-base-uncased": 42.5e6,
    "roberta-large": 302.3e6,
}
SIZE = 1024
TOKENS_OF_A_WORD, SPECIAL_TOKENS = 1.5, 2


def machine_rate() -> float:
    """Floating-point operations a second of a float32 matrix product here."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    points = torch.ones(SIZE, SIZE, device=device)
    seconds = []
    for _ in range(4):
        start = time.perf_counter()
        float((points @ points)[0, 0])
        seconds.append(time.perf_counter() - start)
    return 2.0 * SIZE**3 / min(seconds)


def at_most(run: Planned, rate: float, *, is_trial: bool = False) -> float | None:
    """Seconds of a run if no epoch is saved; None where the documents or the encoder are not known, and for systems
    that work on words.

    A token costs two operations a weight forwards and four backwards. Documents that are not on this machine count as
    full, and all of them.

    Args:
        run: of a plan.
        rate: of the machine, from `machine_rate`.
        is_trial: of a search, which leaves the test documents alone.
    """
    config = run.config(Path("run"))
    found = _size(str(config.data.data), config.data.columns, config.model.max_length)
    weights = WEIGHTS.get(config.model.encoder)
    if found is None or weights is None or run.system not in ("encoder", "bertgcn", "bertgcn-inductive"):
        return None
    most, of_class = config.data.max_documents or found.training + found.scored, config.data.labels_per_class
    labelled = sum(min(size, of_class or size) for size in found.classes) if found.classes else found.training
    training, validation = min(labelled, most), min(found.validation, most)
    read = min(found.training, most) if config.data.rest_unlabelled else training
    trained, evaluations = _schedule(config.training, training)
    test = 0 if is_trial else min(found.scored - found.validation, most)
    kept = config.graph.index + config.graph.record + (config.model.head_start == "frozen")  # passes over training
    kept += config.ends_fitted and not config.graph.index
    scored = (1 + config.graph.floor) * (validation + test) + (evaluations + config.ends_fitted) * validation
    documents = 3.0 * trained + (kept + config.graph.floor) * read + scored
    return 2.0 * weights * found.tokens * documents / rate


def _schedule(training: TrainingConfig, documents: int) -> tuple[float, float]:
    """How many documents pass through training, one as often as it does, and how often validation is scored."""
    if training.setup == "frozen":
        return 0.0, 0.0
    batch = min(training.per_device_train_batch_size, max(documents, 1))
    steps = training.num_train_epochs * documents / batch
    training = copy.copy(training)
    training.settle_schedule(documents)
    if training.max_steps > 0:
        steps = training.max_steps
    epochs = steps * batch / max(documents, 1)
    every = float(training.eval_steps or steps or 1)
    every = every if every >= 1.0 else every * steps  # transformers takes it for a share of all steps
    evaluations = {"epoch": epochs, "steps": steps / every, "no": 0.0}
    return steps * batch, evaluations[IntervalStrategy(training.eval_strategy).value]


class _Size(NamedTuple):
    """Documents to train on and to score, those of them that are validation documents, the tokens of a document,
    about, and the documents of each class to train on, where they are known."""

    training: int
    scored: int
    validation: int
    tokens: float
    classes: tuple[int, ...] = ()


@cache
def _size(data: str, columns: Columns, max_length: int) -> _Size | None:
    if folder_of(data) is None:
        benchmark = BENCHMARKS.get(data.lower())
        return None if benchmark is None else _Size(benchmark.training_rows, benchmark.test_rows, 0, max_length)
    found = read_all(data, columns, allow_unlabelled=True)
    words = np.array([len(text.split()) for text in found["train"].whole_texts])
    tokens = np.minimum(TOKENS_OF_A_WORD * words + SPECIAL_TOKENS, max_length).mean()
    scored = sum(len(documents) for split, documents in found.items() if split != "train")
    classes = Counter(label for label in found["train"].labels or () if label is not None)
    validation = len(found["validation"]) if "validation" in found else 0
    return _Size(len(found["train"]), scored, validation, float(tokens), tuple(classes.values()))
