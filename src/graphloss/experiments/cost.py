"""How long a run will take, roughly."""

import time
from pathlib import Path

import torch

from graphloss.data.benchmarks import BENCHMARKS
from graphloss.experiments.plan import Planned

# Weights of the layers of the encoders that the paper names and of minilm, those of the token embeddings apart.
WEIGHTS = {
    "minilm": 10.6e6,
    "bert-base-uncased": 85.1e6,
    "distilbert-base-uncased": 42.5e6,
    "roberta-large": 302.3e6,
}
SIZE = 1024


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


def at_most(run: Planned, rate: float) -> float | None:
    """Seconds of a run on a benchmark if every document fills all tokens and no epoch is saved; None where the
    documents or the encoder are not known, and for systems that work on words.

    A token costs two operations a weight forwards and four backwards. Every document is embedded four times beside
    training: at the end, for the head before training and for the floor.

    Args:
        run: of a plan.
        rate: of the machine, from `machine_rate`.
    """
    config = run.config(Path("run"))
    benchmark = BENCHMARKS.get(str(config.data.data).lower())
    weights = WEIGHTS.get(config.model.encoder)
    if benchmark is None or weights is None or run.system not in ("encoder", "bertgcn", "bertgcn-inductive"):
        return None
    sizes = [benchmark.training_rows, benchmark.test_rows]
    if config.data.max_documents:
        sizes = [min(size, config.data.max_documents) for size in sizes]
    epochs = 0.0 if config.training.setup == "frozen" else config.training.num_train_epochs
    documents = 3.0 * epochs * sizes[0] + 4.0 * sum(sizes)
    return 2.0 * weights * config.model.max_length * documents / rate
