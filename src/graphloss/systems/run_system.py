"""A system in a run directory like any other run, but without a model: it is there to be compared with."""

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from jaxtyping import Float
from rich.console import Console

from graphloss.data.splits import Splits
from graphloss.errors import InputError
from graphloss.evaluation.calibration import fit_temperature
from graphloss.evaluation.metrics import softmax
from graphloss.run.config import RunConfig
from graphloss.run.documents import LabelledSplits, read_documents_of
from graphloss.run.results import scores, write_predictions
from graphloss.systems import linear_words, on_embeddings
from graphloss.systems.bert_gcn import bert_gcn
from graphloss.systems.text_gcn import text_gcn
from graphloss.training.meter import Meter
from graphloss.training.run_directory import write_json

Logits = dict[str, Float[np.ndarray, "n C"]]
Say = Callable[[str], None]

SYSTEMS: dict[str, Callable[[RunConfig, LabelledSplits, Say], Logits]] = {
    "tfidf-svm": lambda config, data, say: linear_words.tfidf_svm(data),
    "tfidf-logistic": lambda config, data, say: linear_words.tfidf_logistic(data),
    "logistic": on_embeddings.logistic,
    "knn": on_embeddings.nearest_neighbours,
    "propagation": on_embeddings.label_propagation,
    "textgcn": lambda config, data, say: text_gcn(data, seed=config.training.seed, say=say),
    "textgcn-inductive": lambda config, data, say: text_gcn(data, seed=config.training.seed, inductive=True, say=say),
    "bertgcn": bert_gcn,
    "bertgcn-inductive": partial(bert_gcn, inductive=True),
}
ON_EMBEDDINGS = ("logistic", "knn", "propagation", "bertgcn", "bertgcn-inductive")  # they read an encoder
TRANSDUCTIVE = ("propagation", "textgcn", "bertgcn")  # they see the test texts, without labels, when they are fitted


def run_system(
    config: RunConfig,
    name: str,
    splits: Splits | None = None,
    *,
    overwrite: bool = False,
    console: Console | None = None,
) -> dict[str, Any]:
    """Fit a system and write its run directory.

    Args:
        config: the settings; those of the losses and of training are not read, but for the seed.
        name: of the system, one of `SYSTEMS`.
        splits: the documents, where they do not come from what `config.data` names.
        overwrite: remove a run that is there first.
        console: for progress; None for silence.

    Returns:
        What metrics.json holds: scores of "validation" and, if there are test documents, "test"; "temperature", by
        which the logits were divided; "transductive", whether the test texts were seen; "smallest_class", its number of
        training documents; "seconds" that it took, and "peak_memory" in bytes.

    Raises:
        InputError: for wrong input, before anything is written.
    """
    if name not in SYSTEMS:
        raise InputError(f"system must be one of {', '.join(SYSTEMS)}, got {name!r}")
    console = console or Console(quiet=True)
    say = partial(console.print, markup=False, highlight=False, soft_wrap=True)
    config.directory.check(overwrite=overwrite, resume=False)
    data = LabelledSplits.of(splits or read_documents_of(config, say), say)
    config.open(overwrite=overwrite, system=name)
    meter = Meter()
    logits = SYSTEMS[name](config, data, say)
    cost = meter.read()
    temperature = fit_temperature(logits["validation"], np.asarray(data.ids["validation"]))
    probabilities = {split: softmax(values / temperature) for split, values in logits.items()}
    metrics = scores(data, probabilities) | {"temperature": temperature} | cost
    metrics |= {"transductive": name in TRANSDUCTIVE, "smallest_class": data.smallest_class}
    write_predictions(config.directory.predictions, data, probabilities, {})
    write_json(config.directory.metrics, metrics)
    return metrics
