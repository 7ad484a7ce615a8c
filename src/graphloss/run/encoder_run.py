"""Training an encoder with a head, or a head alone, from documents to a run directory."""

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cache, cached_property, partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from datasets import Dataset
from rich.console import Console
from torch import Tensor, nn
from transformers import PrinterCallback, TrainerCallback, set_seed

from graphloss.data.splits import Splits
from graphloss.data.tokens import encode
from graphloss.errors import InputError
from graphloss.evaluation.calibration import fit_temperature
from graphloss.evaluation.metrics import softmax
from graphloss.evaluation.silhouette import macro_silhouette
from graphloss.inference.document_graph import DocumentGraph, fit_graph
from graphloss.inference.index import Index
from graphloss.inference.index_files import fingerprint
from graphloss.inference.votes import smoothed
from graphloss.models.adapters import add_adapters, merge_adapters
from graphloss.models.classifier import Classifier, build_classifier, divide_logits, save_classifier
from graphloss.models.encoder import Encoder, fitting_length, load_encoder
from graphloss.models.forward import Answers, answer
from graphloss.models.linear_head import LinearHead, fit_by_adam, fit_linear_head
from graphloss.models.sentence_encoder import write_modules
from graphloss.run.config import RunConfig
from graphloss.run.documents import LabelledSplits, read_documents_of
from graphloss.run.results import Probabilities, scores, write_predictions
from graphloss.training.callbacks import History, Report
from graphloss.training.meter import Meter
from graphloss.training.run_directory import write_json
from graphloss.training.trainer import GraphLossTrainer

DECISIONS = ("precision", "micro_batch_size")  # what the machine decides where the user does not


class Trained(NamedTuple):
    """A classifier and what the graph needs of it.

    Attributes:
        model: the classifier.
        train: its answers for the training documents, where they are needed.
        left_out: (n, C) logits of the training documents by heads that were fitted without them, where the encoder has
            not seen their labels either.
    """

    model: Classifier
    train: Answers | None
    left_out: Tensor | None = None


def run_training(
    config: RunConfig,
    splits: Splits | None = None,
    *,
    overwrite: bool = False,
    resume: bool = False,
    console: Console | None = None,
    callbacks: Sequence[TrainerCallback] = (),
) -> dict[str, Any]:
    """Train a classifier and write its run directory.

    Args:
        config: the settings; `config.training.output_dir` names the directory.
        splits: the documents, where they do not come from what `config.data` names.
        overwrite: remove a run that is there first.
        resume: go on from the last checkpoint there.
        console: for progress; None for silence.
        callbacks: of the trainer, beside those that report.

    Returns:
        What metrics.json holds: scores of "validation" and, if there are test documents, "test", of the head, which
        was calibrated by "temperature"; under "graph", those with the document graph; under "floor", those of a linear
        head on the encoder as it was; "smallest_class", its number of training documents; "seconds" that the run took,
        all processes together, and "peak_memory" in bytes.

    Raises:
        InputError: for wrong input, before anything is written.
    """
    console = console or Console(quiet=True)
    config.directory.check(overwrite=overwrite, resume=resume)
    if resume:
        _keep_decisions(config)
    say = partial(_say, console)
    data = LabelledSplits.of(splits or read_documents_of(config, say), say)
    run = _EncoderRun.prepare(config, data, console)
    if config.training.setup != "integrated":
        config.model.head = "linear"
    if config.training.setup == "frozen":
        trained = run.frozen
        run.open(overwrite=overwrite)
    else:
        trained = run.fine_tune(overwrite=overwrite, resume=resume, callbacks=callbacks)
    return run.finish(trained)


@dataclass(eq=False)
class _EncoderRun:
    """The documents of a run, and the steps from them to the run directory."""

    config: RunConfig
    data: LabelledSplits
    encoder: Encoder
    pooling: str
    console: Console
    meter: Meter = field(default_factory=Meter)

    @classmethod
    def prepare(cls, config: RunConfig, data: LabelledSplits, console: Console) -> "_EncoderRun":
        encoder = load_encoder(config.model.encoder)
        config.model.max_length = fitting_length(encoder, config.model.max_length, partial(_say, console))
        pooling = encoder.pooling if config.model.pooling == "auto" else config.model.pooling
        return cls(config, data, encoder, pooling, console)

    def open(self, *, overwrite: bool, resume: bool = False) -> list[Path]:
        """Write the settings into the run directory; gives the checkpoints there, where they are to be gone on from."""
        directory = self.config.directory
        checkpoints = directory.checkpoints() if resume and not overwrite else []
        if resume and not checkpoints:
            self.say(f"{directory.path} holds no checkpoint; starting over")
            directory.history.unlink(missing_ok=True)
        self.config.open(overwrite=overwrite)
        return checkpoints

    @cached_property
    def frozen(self) -> Trained:
        """A linear head on the encoder as it was published, with its answers for the training documents."""
        self.say("fitting a linear head to the encoder as it was")
        model = self._build("linear")
        self.config.training.settle_precision(self.say)
        nn.Module.to(model, self.config.training.device)
        train = self._training_answer(model)
        head = fit_linear_head(train.embeddings, torch.tensor(self.data.ids["train"]), len(self.data.names))
        _set_head(model, head)
        return Trained(model, train._replace(logits=head.logits(train.embeddings)), head.left_out)

    def fine_tune(self, *, overwrite: bool, resume: bool, callbacks: Sequence[TrainerCallback] = ()) -> Trained:
        """Train the encoder and its head."""
        goes_on = resume and bool(self.config.directory.checkpoints())
        self._check_validation()
        start = self.frozen.model if self.config.model.head_start == "frozen" and not goes_on else None
        set_seed(self.config.training.seed)
        model = self._build(self.config.model.head)
        if start is not None:
            model.get_submodule("head").load_state_dict(start.get_submodule("head").state_dict())
        if self.config.model.lora_rank:
            add_adapters(model, self.config.model.lora_rank)
        trainer = self._trainer(model)
        checkpoints = self.open(overwrite=overwrite, resume=resume)
        report = Report(self.console)
        history = History(self.config.directory.history)
        trainer.add_callback(history)
        trainer.add_callback(report)
        for callback in callbacks:
            trainer.add_callback(callback)
        try:
            trainer.train(resume_from_checkpoint=str(checkpoints[0]) if checkpoints else None)
        finally:
            report.close()
        self.meter.before = history.before
        if self.config.model.lora_rank:
            merge_adapters(model)
        trainer.accelerator.unwrap_model(model, keep_fp32_wrapper=False)  # scores are those of the saved model
        if self.config.training.setup == "standalone":
            return self._probe(model)
        return Trained(model, self._training_answer(model) if self.config.graph.index else None)

    def _probe(self, model: Classifier) -> Trained:
        """Fit a linear head to an encoder that was trained without one."""
        self.say("fitting a linear head to the encoder as it is now")
        train, labels, size = self._training_answer(model), torch.tensor(self.data.ids["train"]), len(self.data.names)
        if self.config.training.probe == "logistic":
            head = fit_linear_head(train.embeddings, labels, size)
        else:
            checked = self._answer(model, "validation").embeddings, torch.tensor(self.data.ids["validation"])
            head = fit_by_adam(train.embeddings, labels, size, *checked, seed=self.config.training.seed)
        _set_head(model, head)
        return Trained(model, train._replace(logits=head.logits(train.embeddings)))

    def _check_validation(self) -> None:
        known = [label for label in self.data.ids["validation"] if label >= 0]
        by_silhouette = self.config.training.metric_for_best_model == "macro_silhouette"
        if by_silhouette and not 1 < len(set(known)) < len(known):
            raise InputError(
                "macro-silhouette needs validation documents of two classes, and two of a class; give more of them, or "
                "--setup integrated"
            )

    def save_model(self, model: Classifier) -> None:
        """Write the model so that its folder appears whole."""
        unfinished = self.config.directory.path / "model.partial"
        unfinished.mkdir(exist_ok=True)
        save_classifier(model, unfinished)
        self.encoder.tokenizer.model_max_length = self.config.model.max_length
        self.encoder.tokenizer.save_pretrained(unfinished)
        dimension, max_length = self.encoder.config.hidden_size, self.config.model.max_length
        write_modules(unfinished, pooling=self.pooling, dimension=dimension, max_length=max_length)
        shutil.rmtree(self.config.directory.model, ignore_errors=True)  # of a run that was cut off after this
        unfinished.replace(self.config.directory.model)

    def finish(self, trained: Trained) -> dict[str, Any]:
        """Calibrate the head; write the model, the index, the predictions and, last, the scores."""
        directory, model = self.config.directory, trained.model
        answers, temperature = self._calibrated({split: self._answer(model, split) for split in self.data.scored})
        divide_logits(model, temperature)
        self.save_model(model)
        heads = _probabilities(answers)
        silhouettes = self._silhouettes(answers)
        metrics: dict[str, Any] = scores(self.data, heads, silhouettes) | {"temperature": temperature}
        mixed: Probabilities = {}
        if trained.train is not None and self.config.graph.index:
            left_out = None if trained.left_out is None else trained.left_out / temperature
            graph = self._fit_graph(_divided(trained.train, temperature), left_out, answers["validation"])
            graph.save(directory.index, fingerprint(directory.model))
            mixed = {split: self._with_graph(graph, split, each) for split, each in answers.items()}
            metrics["graph"] = scores(self.data, mixed) | {"weight": graph.mixture.weight}
        if self.config.graph.floor and self.config.training.setup != "frozen":
            floor, _ = self._calibrated({split: self._answer(self.frozen.model, split) for split in answers})
            metrics["floor"] = scores(self.data, _probabilities(floor), self._silhouettes(floor))
        write_predictions(directory.predictions, self.data, heads, mixed)
        metrics |= {"smallest_class": self.data.smallest_class} | self.meter.read(self.config.training.device.type)
        write_json(directory.metrics, metrics)
        directory.remove_checkpoints()
        return metrics

    def _calibrated(self, answers: dict[str, Answers]) -> tuple[dict[str, Answers], float]:
        """Answers by split with logits by which the validation labels are likeliest, and the temperature for it."""
        temperature = fit_temperature(answers["validation"].logits.numpy(), np.asarray(self.data.ids["validation"]))
        return {split: _divided(each, temperature) for split, each in answers.items()}, temperature

    def _silhouettes(self, answers: dict[str, Answers]) -> dict[str, float]:
        seed = self.config.training.seed
        return {
            split: macro_silhouette(each.embeddings.numpy(), np.asarray(self.data.ids[split]), seed=seed)
            for split, each in answers.items()
        }

    def say(self, line: str) -> None:
        """Tell the user, in one line."""
        _say(self.console, line)

    @cached_property
    def _say_once(self) -> Callable[[str], None]:
        return cache(self.say)  # what is true of several splits

    @cache  # noqa: B019 - both go with the process
    def _tokens(self, split: str) -> Dataset:
        kept = self.config.data.token_cache(self.encoder.tokenizer, self._say_once)
        documents, most = self.data.documents(split), self.config.model.max_length
        tokens = encode(documents, self.encoder.tokenizer, most, self.data.ids[split], kept)
        full = sum(len(ids) == most for ids in tokens["input_ids"])
        if split == "train" and full:
            self.say(
                f"note: {full:,} of {len(tokens):,} training documents fill {most} tokens; the encoder reads no more"
            )
        return tokens

    def _answer(self, model: Classifier, split: str) -> Answers:
        most = self.config.training.per_device_eval_batch_size
        return answer(model, self._tokens(split), self.encoder.tokenizer, pooling=self.pooling, most=most)

    def _training_answer(self, model: Classifier) -> Answers:
        """Of the training documents, in the precision of the run: neither scores nor predictions are made from them."""
        types = {"bf16": torch.bfloat16, "fp16": torch.float16}
        training = self.config.training
        with torch.autocast(training.device.type, types.get(training.precision), enabled=training.precision in types):
            return self._answer(model, "train")

    def _build(self, head: str) -> Classifier:
        attention = self.config.model.attn_implementation
        return build_classifier(
            self.encoder, self.data.names, head=head, pooling=self.pooling, attn_implementation=attention
        )

    def _trainer(self, model: Classifier) -> GraphLossTrainer:
        trainer = GraphLossTrainer(
            model,
            self.config.training,
            gloss=self.config.gloss,
            metric=self.config.metric,
            pooling=self.pooling,
            say=self.say,
            train_dataset=self._tokens("train"),
            eval_dataset=self._tokens("validation"),
            processing_class=self.encoder.tokenizer,
        )
        trainer.remove_callback(PrinterCallback)
        return trainer

    def _fit_graph(self, train: Answers, left_out: Tensor | None, validation: Answers) -> DocumentGraph:
        index, rows = Index.build(
            self.data.splits.train,
            self.data.ids["train"],
            self.data.names,
            train.embeddings,
            opinions=torch.softmax(train.logits, dim=1),
            most=self.config.graph.index_size,
            seed=self.config.training.seed,
        )
        return fit_graph(
            smoothed(index),
            validation=index.views(self.data.splits.validation, validation.embeddings),
            logits=validation.logits,
            labels=torch.tensor(self.data.ids["validation"]),
            left_out=None if left_out is None else left_out[rows],
            coverage=self.config.graph.coverage,
        )

    def _with_graph(self, graph: DocumentGraph, split: str, answers: Answers) -> np.ndarray:
        """(n, C) probabilities by head and graph."""
        views = graph.index.views(self.data.documents(split), answers.embeddings)
        return graph.mixture.mix(answers.logits, graph.propagate(views).probabilities).numpy()


def _divided(answers: Answers, temperature: float) -> Answers:
    return answers._replace(logits=answers.logits / temperature)


def _probabilities(answers: dict[str, Answers]) -> Probabilities:
    return {split: softmax(each.logits.numpy()) for split, each in answers.items()}


def _set_head(model: Classifier, head: LinearHead) -> None:
    model.get_submodule("head").load_state_dict({"weight": head.weight, "bias": head.bias})


def _keep_decisions(config: RunConfig) -> None:
    """What the machine decided when the run began is not decided again."""
    decided = config.directory.saved_config()
    for name in DECISIONS:
        if getattr(config.training, name) == "auto":
            setattr(config.training, name, str(decided.get(name, "auto")))


def _say(console: Console, line: str) -> None:
    console.print(line, markup=False, highlight=False, soft_wrap=True)
