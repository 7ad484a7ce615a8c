"""What predictions cost, with the graph and without, and what an explanation costs.

Run `GRAPHLOSS_DATA=FOLDER python benchmarks/predict.py`. Predictions for the test documents of MR by a linear head on
frozen MiniLM, in turn: by `transformers.pipeline` with default settings, as `graphloss predict` does it, and with
`--graph`; medians of three. Then an explanation of one document among 100,000, made from pairs of MR's, against the
encoder's pass of that document. Writes results/predict.json.
"""

import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import numpy as np
import torch
from report import Bound, arguments, conclude
from transformers import pipeline

from graphloss.cli.output import quiet_libraries
from graphloss.data.documents import Documents
from graphloss.data.files import Columns
from graphloss.data.splits import read_all
from graphloss.inference.classifier import TrainedClassifier
from graphloss.inference.document_graph import DocumentGraph
from graphloss.inference.explain import explain
from graphloss.inference.index import Index
from graphloss.run import RunConfig, run_training
from graphloss.run.sections import DataConfig, GraphConfig, ModelConfig
from graphloss.training.config import TrainingConfig

DOCUMENTS = 100_000
REPETITIONS = 3


def train(folder: Path, head: str) -> TrainedClassifier:
    """A run on MR; with the stock head, which the pipeline of transformers reads, after a single step."""
    setup = "integrated" if head == "stock" else "frozen"
    config = RunConfig(
        data=DataConfig(data="mr"),
        model=ModelConfig(encoder="minilm", head=head),
        graph=GraphConfig(floor=False),
        training=TrainingConfig(output_dir=str(folder), setup=setup, max_steps=1, save_strategy="no"),
    )
    run_training(config)
    return TrainedClassifier.load(folder)


def medians(tasks: dict[str, Callable[[], object]], repetitions: int) -> dict[str, float]:
    """Seconds of each task, called in turn."""
    seconds: dict[str, list[float]] = {name: [] for name in tasks}
    for _ in range(repetitions + 1):
        for name, task in tasks.items():
            start = time.perf_counter()
            task()
            seconds[name].append(time.perf_counter() - start)
    return {name: median(values[1:]) for name, values in seconds.items()}


def throughput(classifier: TrainedClassifier, test: Documents, repetitions: int) -> dict[str, float]:
    served = pipeline("text-classification", model=str(classifier.folder))
    return medians(
        {
            "pipeline": lambda: served(test.texts, truncation=True),
            "predict": lambda: classifier.predict_proba(test),
            "graph": lambda: classifier.ask_graph(test, classifier.answer(test)),
        },
        repetitions,
    )


def explanation(classifier: TrainedClassifier, train: Documents, test: Documents, repetitions: int) -> dict[str, float]:
    """Seconds of an encoder pass of one document, and of its explanation among many."""
    generator = np.random.default_rng(0)
    pairs = generator.integers(0, len(train), (DOCUMENTS, 2))
    texts = Documents([f"{train.texts[one]} {train.texts[other]}" for one, other in pairs.tolist()])
    known = classifier.answer(train).embeddings
    embeddings = known[pairs[:, 0]] + known[pairs[:, 1]] + 0.1 * torch.randn(DOCUMENTS, known.shape[1])
    labels = generator.integers(0, len(classifier.names), DOCUMENTS).tolist()
    index, _ = Index.build(texts, labels, classifier.names, embeddings)
    classifier.graph = DocumentGraph(index, classifier.graph.mixture)
    one = test.take([0])
    return medians(
        {"pass": lambda: classifier.answer(one), "explanation": lambda: explain(classifier, one)}, 4 * repetitions
    )


def main() -> None:
    options = arguments(__doc__ or "").parse_args()
    quiet_libraries()
    repetitions = 1 if options.quick else REPETITIONS
    found = read_all("mr", Columns())
    with tempfile.TemporaryDirectory() as folder:
        seconds = throughput(train(Path(folder) / "stock", "stock"), found["test"], repetitions)
        one = explanation(train(Path(folder) / "linear", "linear"), found["train"], found["test"], repetitions)
    for name, value in (seconds | one).items():
        print(f"{name:12}{value:10.4f} s")
    bounds = [
        Bound("predict: times the throughput of the pipeline", seconds["pipeline"] / seconds["predict"], 2.0, True),
        Bound("--graph: share of predict's throughput", seconds["predict"] / seconds["graph"], 0.8, True),
        Bound("explanation: encoder passes of one document", one["explanation"] / one["pass"], 5.0),
    ]
    conclude("predict", {"seconds": seconds, "one_of_100000": one}, bounds, options)


if __name__ == "__main__":
    main()
