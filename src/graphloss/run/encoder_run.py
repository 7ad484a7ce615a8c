"""Training an encoder with a head, or a head alone, from documents to a run directory."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from rich.console import Console
from torch import Tensor, nn
from transformers import PrinterCallback, TrainerCallback, set_seed

from graphloss.data.splits import Splits
from graphloss.errors import InputError
from graphloss.evaluation.calibration import class_shift
from graphloss.models.adapters import add_adapters, merge_adapters
from graphloss.models.classifier import Classifier, LinearHeadClassifier
from graphloss.models.forward import Answers
from graphloss.models.last_layer import last_layer, set_last_layer, without_last_layer
from graphloss.models.linear_head import LinearHead, fit_by_adam, fit_linear_head
from graphloss.run.config import RunConfig
from graphloss.run.documents import LabelledSplits, read_documents_of
from graphloss.run.finish import Finish, Trained
from graphloss.run.teaching import can_be_taught, taught_head
from graphloss.run.workspace import Workspace
from graphloss.training.checkpoints import was_last
from graphloss.training.distributed import leave, wait_for_all
from graphloss.training.history import History
from graphloss.training.interrupt import StopOnSignal
from graphloss.training.last_fit import expecting, fit_after_training
from graphloss.training.meter import Meter
from graphloss.training.progress import Report
from graphloss.training.record import Recorder
from graphloss.training.trainer import GraphLossTrainer

DECISIONS = ("precision", "micro_batch_size")  # what the machine decides where the user does not


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
        head on the encoder as it was; "graph_loss_weight", where it follows the skill of the graph, its mean and last
        value while training; "smallest_class", its number of training documents; "seconds" that the run took, all
        processes together, and "peak_memory" in bytes. Of several processes that train together the first one finishes
        the run, alone; the others return nothing.

    Raises:
        InputError: for wrong input, before anything is written.
    """
    first = config.training.process_index == 0
    console = console if console is not None and first else Console(quiet=True)
    config.directory.check(overwrite=overwrite, resume=resume)
    if resume:
        _keep_decisions(config)
    wait_for_all()  # before the first one writes
    say = partial(console.print, markup=False, highlight=False, soft_wrap=True)
    data = LabelledSplits.of(splits or read_documents_of(config, say), say)
    run = _EncoderRun(Workspace(config, data, console))
    if config.training.setup != "integrated":
        config.model.head = "linear"
    frozen = config.training.setup == "frozen"
    tuned = None if frozen else run.fine_tune(overwrite=overwrite, resume=resume, callbacks=callbacks)
    leave()
    if not first:
        return {}
    trained = run.after_none() if tuned is None else run.after_training(tuned)
    if frozen:
        config.open(overwrite=overwrite)
    floor = run.frozen if config.graph.floor and not frozen else None
    return Finish(run.space, run.meter).write(trained, floor)


@dataclass(eq=False)
class _EncoderRun:
    """The steps from documents to a trained classifier."""

    space: Workspace
    meter: Meter = field(default_factory=Meter)
    _before: Answers | None = None  # of the training documents by the encoder as it was, where it was asked

    def __post_init__(self) -> None:
        self.config, self.data, self.say = self.space.config, self.space.data, self.space.say

    def _checkpoint(self) -> Path | None:
        """What training goes on from; None where it has to start over."""
        directory = self.config.directory
        found = directory.checkpoints.whole(self.say)
        if found is None:
            self.say(f"{directory.path} holds no checkpoint to go on from; starting over")
        return found

    @cached_property
    def frozen(self) -> Trained:
        """A linear head on the encoder as it was published, with its answers for the training documents."""
        self.say("fitting a linear head to the encoder as it was")
        model = self.space.build("linear")
        train = self._before or self._untouched(model)  # the embeddings are the same below any head
        nn.Module.to(model, self.config.training.device)
        head = self._fit(train.embeddings)
        set_last_layer(model, head)
        logits = head.logits(train.embeddings)
        return Trained(model, train._replace(logits=logits), head.left_out, learns_shares=True)

    def _begin_at_frozen(self, model: Classifier) -> None:
        """Fit the last layer of a new classifier to what it reads."""
        if isinstance(model, LinearHeadClassifier):
            model.head.load_state_dict(self.frozen.model.get_submodule("head").state_dict())
        else:
            self.say("fitting the last layer to the encoder as it was")
            features = self._untouched(model).logits
            set_last_layer(model, self._fit(features, bias=last_layer(model)[1].bias is not None))

    def _untouched(self, model: Classifier) -> Answers:
        """What the last layer of a new classifier reads of the training documents, and their embeddings."""
        self.config.training.settle_precision(self.say)
        nn.Module.to(model, self.config.training.device)
        with without_last_layer(model):
            self._before = self.space.training_answer(model)
        return self._before

    def _fit(self, features: Float[Tensor, "n d"], *, bias: bool = True) -> LinearHead:
        return fit_linear_head(features, torch.tensor(self.data.ids["train"]), len(self.data.names), bias=bias)

    def fine_tune(self, *, overwrite: bool, resume: bool, callbacks: Sequence[TrainerCallback] = ()) -> Classifier:
        """Train the encoder and its head, which is left as it was in the standalone set-up."""
        checkpoint = self._checkpoint() if resume and not overwrite else None
        self._check_validation()
        set_seed(self.config.training.seed)
        model = self.space.build(self.config.model.head)
        integrated = self.config.training.setup == "integrated"  # else the head learns nothing
        if integrated and self.config.model.head_start == "frozen" and checkpoint is None:
            self._begin_at_frozen(model)
        if self.config.model.lora_rank:
            add_adapters(model, self.config.model.lora_rank)
        trainer = self._trainer(model)
        if trainer.is_world_process_zero():
            self.config.open(overwrite=overwrite or (resume and checkpoint is None))
        wait_for_all()  # for the directory
        self._train(trainer, checkpoint, callbacks)
        if self.config.model.lora_rank:
            merge_adapters(model)
        trainer.accelerator.unwrap_model(model, keep_fp32_wrapper=False)  # scores are those of the saved model
        return self._whole(trainer) if trainer.is_fsdp_enabled else model

    def _whole(self, trainer: GraphLossTrainer) -> Classifier:
        """The trained model in one piece, where each process holds a part of the weights."""
        weights = trainer.accelerator.get_state_dict(trainer.model)
        model = self.space.build(self.config.model.head)
        if trainer.is_world_process_zero():
            model.load_state_dict(weights)
        nn.Module.to(model, self.config.training.device)
        return model

    def after_none(self) -> Trained:
        """The head on the encoder as it was, which documents without a label may have taught."""
        self._tell_of_shares()
        if not can_be_taught(self.data):
            return self.frozen
        model = self.frozen.model
        layer, train = last_layer(model)[1], self._before or self._untouched(model)
        head = LinearHead(layer.weight.detach().cpu(), layer.bias.detach().cpu(), torch.empty(0, layer.out_features))
        with without_last_layer(model):
            validation = self.space.answer(model, "validation")
        labels, checked = (torch.tensor(self.data.ids[split]) for split in ("train", "validation"))
        head = expecting(head, labels, validation.logits, checked)
        taught = taught_head(self.space, head, train._replace(logits=train.embeddings), validation)
        if taught is head:
            return self.frozen
        set_last_layer(model, taught)
        return Trained(model, train._replace(logits=taught.left_out))

    def after_training(self, model: Classifier) -> Trained:
        """What the end of the run needs of a model that was trained, its last layer fitted now where it is to be."""
        if self.config.ends_fitted:
            return self._fit_again(model)
        if self.config.training.setup == "standalone":
            return self._probe(model)
        return Trained(model, self.space.training_answer(model) if self.config.graph.index else None)

    def _train(self, trainer: GraphLossTrainer, checkpoint: Path | None, callbacks: Sequence[TrainerCallback]) -> None:
        history, report = History(self.config.directory.history), Report(self.space.console)
        signals = StopOnSignal()
        told = (history, report, *callbacks) if trainer.is_world_process_zero() else ()
        for callback in (signals, *told):
            trainer.add_callback(callback)
        if self.config.graph.record:
            trainer.add_callback(Recorder(trainer, self.config.directory.record))
        try:
            if checkpoint is not None and was_last(checkpoint):
                trainer.restore(checkpoint)
                history.go_on(trainer.state.global_step)
            else:
                trainer.train(resume_from_checkpoint=None if checkpoint is None else str(checkpoint))
        finally:
            report.close()
            signals.restore()
        self.meter.before = history.before

    def _fit_again(self, model: Classifier) -> Trained:
        """Fit the last layer to what it reads now, after training."""
        self.say("fitting the last layer to the encoder as it is now")
        if isinstance(model, LinearHeadClassifier):
            model.unit_length = True
        with without_last_layer(model):
            train, validation = self.space.training_answer(model), self.space.answer(model, "validation")
        labels, checked = (torch.tensor(self.data.ids[split]) for split in ("train", "validation"))
        size, bias = len(self.data.names), last_layer(model)[1].bias is not None
        if bias:
            self._tell_of_shares()
        head = fit_after_training(train.logits, labels, size, validation.logits, checked, bias=bias)
        if can_be_taught(self.data):
            head = taught_head(self.space, head, train, validation, bias=bias)
        set_last_layer(model, head)
        return Trained(model, train._replace(logits=head.left_out))

    def _tell_of_shares(self) -> None:
        """Say so where a fitted head will expect other class shares than the labelled documents have."""
        labels, checked = (np.asarray(self.data.ids[split]) for split in ("train", "validation"))
        if class_shift(labels, checked, len(self.data.names)).any():
            self.say("the head expects the class shares of the validation documents, which are not those of training")

    def _probe(self, model: Classifier) -> Trained:
        """Fit a linear head to an encoder that was trained without one as the paper does."""
        self.say("fitting the last layer to the encoder as it is now")
        train = self.space.training_answer(model)
        labels, size = torch.tensor(self.data.ids["train"]), len(self.data.names)
        checked = self.space.answer(model, "validation").embeddings, torch.tensor(self.data.ids["validation"])
        head = fit_by_adam(train.embeddings, labels, size, *checked, seed=self.config.training.seed)
        set_last_layer(model, head)
        return Trained(model, train._replace(logits=head.logits(train.embeddings)))

    def _check_validation(self) -> None:
        known = [label for label in self.data.ids["validation"] if label >= 0]
        by_silhouette = self.config.training.metric_for_best_model == "macro_silhouette"
        if by_silhouette and not 1 < len(set(known)) < len(known):
            raise InputError(
                "macro-silhouette needs validation documents of two classes, and two of a class; give more of them, or "
                "--setup integrated"
            )

    def _trainer(self, model: Classifier) -> GraphLossTrainer:
        trainer = GraphLossTrainer(
            model,
            self.config.training,
            gloss=self.config.gloss,
            metric=self.config.metric,
            pooling=self.space.pooling,
            ends_fitted=self.config.ends_fitted and self.config.training.setup == "integrated",
            say=self.say,
            train_dataset=self.space.tokens("train"),
            eval_dataset=self.space.tokens("validation"),
            processing_class=self.space.encoder.tokenizer,
        )
        trainer.remove_callback(PrinterCallback)
        if trainer.is_fsdp_enabled and self.config.model.lora_rank:
            raise InputError("--lora_rank does not go together with FSDP; leave one of them out")
        return trainer


def _keep_decisions(config: RunConfig) -> None:
    """What the machine decided when the run began is not decided again."""
    decided = config.directory.saved_config()
    for name in DECISIONS:
        if getattr(config.training, name) == "auto":
            setattr(config.training, name, str(decided.get(name, "auto")))
