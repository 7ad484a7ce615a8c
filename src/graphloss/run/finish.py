"""From a trained classifier to its run directory: calibration, scores, the graph of the training documents."""

import shutil
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from graphloss.evaluation.calibration import class_shift, fit_temperature
from graphloss.evaluation.metrics import softmax
from graphloss.evaluation.silhouette import macro_silhouette
from graphloss.inference.document_graph import DocumentGraph
from graphloss.inference.index import Views
from graphloss.inference.index_files import fingerprint
from graphloss.models.classifier import Classifier, save_classifier
from graphloss.models.forward import Answers
from graphloss.models.last_layer import calibrate_logits
from graphloss.models.sentence_encoder import write_modules
from graphloss.run.graph import graph_of
from graphloss.run.record import Embeddings, write_record
from graphloss.run.results import Probabilities, scores, write_predictions
from graphloss.run.workspace import Workspace
from graphloss.training.meter import Meter
from graphloss.training.run_directory import write_json


class Trained(NamedTuple):
    """A classifier and what the graph needs of it.

    Attributes:
        model: the classifier.
        train: its answers for the training documents, where they are needed.
        left_out: (n, C) logits of the training documents by heads that were fitted without them, where the encoder has
            not seen their labels either.
        learns_shares: whether its head is yet to learn the class shares of validation documents, as one that is fitted
            to the encoder as it was; a head that was trained keeps what it learned from training.
    """

    model: Classifier
    train: Answers | None
    left_out: Tensor | None = None
    learns_shares: bool = False


class _Calibration(NamedTuple):
    """What makes the labels of validation documents likeliest: the temperature of the logits, then a shift (C,)."""

    temperature: float
    shift: Tensor

    def of(self, answers: Answers) -> Answers:
        """The answers with calibrated logits."""
        return answers._replace(logits=answers.logits / self.temperature + self.shift.to(answers.logits))


@dataclass(frozen=True)
class Finish:
    """The last steps of a run.

    Attributes:
        space: its documents and encoder.
        meter: of what the run costs.
    """

    space: Workspace
    meter: Meter

    def write(self, trained: Trained, floor: Trained | None) -> dict[str, Any]:
        """Calibrate the head; write the model, the index, the predictions and, last, the scores, which are returned.

        It is the one place where test documents are scored.

        Args:
            trained: the classifier.
            floor: a linear head on the encoder as it was, to be scored, too.
        """
        space, directory = self.space, self.space.config.directory
        data, model = space.data, trained.model
        answers, calibration = self._calibrated(trained)
        calibrate_logits(model, *calibration)
        self._save_model(model)
        heads = _probabilities(answers)
        metrics: dict[str, Any] = scores(data, heads, self._silhouettes(answers)) | {
            "temperature": calibration.temperature
        }
        mixed: Probabilities = {}
        graph, views = None, {}
        if trained.train is not None and space.config.graph.index:
            left_out = None if trained.left_out is None else trained.left_out / calibration.temperature
            graph, _ = graph_of(space, calibration.of(trained.train), answers["validation"], left_out)
            graph.save(directory.index, fingerprint(directory.model))
            views = {split: self._views(graph, split, each) for split, each in answers.items()}
            mixed = {split: _mixed(graph, views[split], each) for split, each in answers.items()}
            metrics["graph"] = scores(data, mixed) | {"weight": graph.mixture.weight}
        before: dict[str, Answers] = {}
        if floor is not None:
            before, _ = self._calibrated(floor)
            metrics["floor"] = scores(data, _probabilities(before), self._silhouettes(before))
        if space.config.graph.record:
            untouched = {} if floor is None else _embeddings(floor, before)
            write_record(directory.record, _embeddings(trained, answers), untouched, graph, views)
        write_predictions(directory.predictions, data, heads, mixed)
        weights = [line["graph_weight"] for line in directory.read_history() if "graph_weight" in line]
        if weights and space.config.gloss.graph_weighting == "skill":
            metrics["graph_loss_weight"] = {"mean": sum(weights) / len(weights), "last": weights[-1]}
        metrics |= {"smallest_class": data.smallest_class} | self.meter.read(space.config.training.device.type)
        write_json(directory.metrics, metrics)
        directory.checkpoints.remove()
        return metrics

    def _save_model(self, model: Classifier) -> None:
        """Write the model so that its folder appears whole."""
        encoder, max_length = self.space.encoder, self.space.config.model.max_length
        directory = self.space.config.directory
        unfinished = directory.path / "model.partial"
        unfinished.mkdir(exist_ok=True)
        save_classifier(model, unfinished)
        encoder.tokenizer.model_max_length = max_length
        encoder.tokenizer.save_pretrained(unfinished)
        dimension = encoder.config.hidden_size
        write_modules(unfinished, pooling=self.space.pooling, dimension=dimension, max_length=max_length)
        shutil.rmtree(directory.model, ignore_errors=True)  # of a run that was cut off after this
        unfinished.replace(directory.model)

    def _calibrated(self, trained: Trained) -> tuple[dict[str, Answers], _Calibration]:
        """Answers by split, their logits calibrated, and how."""
        data = self.space.data
        answers = {split: self.space.answer(trained.model, split) for split in data.scored}
        labels, checked = (np.asarray(data.ids[split]) for split in ("train", "validation"))
        shift = class_shift(labels, checked, len(data.names)) if trained.learns_shares else np.zeros(len(data.names))
        temperature = fit_temperature(answers["validation"].logits.numpy(), checked, shift)
        calibration = _Calibration(temperature, torch.from_numpy(shift))
        return {split: calibration.of(each) for split, each in answers.items()}, calibration

    def _silhouettes(self, answers: dict[str, Answers]) -> dict[str, float]:
        seed, ids = self.space.config.training.seed, self.space.data.ids
        return {
            split: macro_silhouette(each.embeddings.numpy(), np.asarray(ids[split]), seed=seed)
            for split, each in answers.items()
        }

    def _views(self, graph: DocumentGraph, split: str, answers: Answers) -> Views:
        return graph.index.views(self.space.data.documents(split), answers.embeddings)


def _mixed(graph: DocumentGraph, views: Views, answers: Answers) -> np.ndarray:
    """(n, C) probabilities by head and graph."""
    return graph.mixture.mix(answers.logits, graph.propagate(views).probabilities).numpy()


def _embeddings(trained: Trained, answers: dict[str, Answers]) -> Embeddings:
    """Of the documents by split, those of the training documents where they are known."""
    train = {} if trained.train is None else {"train": trained.train.embeddings}
    return train | {split: each.embeddings for split, each in answers.items()}


def _probabilities(answers: dict[str, Answers]) -> Probabilities:
    return {split: softmax(each.logits.numpy()) for split, each in answers.items()}
