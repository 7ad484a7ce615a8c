"""A run, from files to a run directory."""

import functools
import shutil
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import pyarrow.parquet
from datasets import Dataset
from rich.console import Console
from transformers import PrinterCallback, set_seed

from graphloss.data.documents import Documents, label_ids, label_names, listed, single_labels
from graphloss.data.splits import Splits, read_splits
from graphloss.data.tokens import encode
from graphloss.errors import InputError
from graphloss.evaluation.metrics import classification_metrics, softmax
from graphloss.models.adapters import add_adapters, merge_adapters
from graphloss.models.classifier import Classifier, build_classifier, save_classifier
from graphloss.models.encoder import Encoder, load_encoder
from graphloss.models.forward import Answers, answer
from graphloss.models.sentence_encoder import write_modules
from graphloss.training.callbacks import History, Report
from graphloss.training.config import DataConfig, GLossConfig, ModelConfig, TrainingConfig
from graphloss.training.run_directory import RunDirectory, describe_environment, write_json, write_yaml
from graphloss.training.trainer import GraphLossTrainer

DECISIONS = ("precision", "micro_batch_size")  # what the machine decides where the user does not


@dataclass
class RunConfig:
    """All settings of a run."""

    data: DataConfig
    model: ModelConfig
    gloss: GLossConfig
    training: TrainingConfig

    @property
    def directory(self) -> RunDirectory:
        """Where the run goes.

        Raises:
            InputError: where none was named.
        """
        if self.training.output_dir is None or "output_dir" in self.training.left_open:
            raise InputError("--output_dir is missing; name the folder for the run")
        return RunDirectory(Path(self.training.output_dir))

    def to_dict(self) -> dict[str, Any]:
        """Flat, by name: all fields of our own, and those of `TrainingArguments` that differ from the defaults."""
        settings = asdict(self.data) | asdict(self.model) | asdict(self.gloss)
        shown = {*TrainingConfig.__annotations__, "learning_rate", "seed"} - self.training.left_open
        for field in fields(TrainingConfig):
            if field.name in ("bf16", "fp16"):
                continue  # `precision` says it
            value = getattr(self.training, field.name)
            if field.name in shown or (field.name not in self.training.left_open and value != field.default):
                settings[field.name] = getattr(value, "value", value)
        return settings


def run_training(
    config: RunConfig, *, overwrite: bool = False, resume: bool = False, console: Console | None = None
) -> dict[str, Any]:
    """Train a classifier and write its run directory.

    Args:
        config: the settings; `config.training.output_dir` names the directory.
        overwrite: remove a run that is there first.
        resume: go on from the last checkpoint there.
        console: for progress; None for silence.

    Returns:
        What metrics.json holds: scores of "validation" and, if there are test documents, "test".

    Raises:
        InputError: for wrong input, before anything is written.
    """
    console = console or Console(quiet=True)
    directory = config.directory
    directory.check(overwrite=overwrite, resume=resume)
    if resume:
        _keep_decisions(config.training, directory)
    splits = read_splits(
        data=config.data.data,
        train=config.data.train,
        validation=config.data.validation,
        test=config.data.test,
        columns=config.data.columns,
        allow_unlabelled=config.data.allow_unlabelled,
        validation_fraction=config.data.validation_fraction,
        seed=config.training.seed,
    )
    names, labels = _label(splits, console)
    encoder = load_encoder(config.model.encoder)
    pooling = encoder.pooling if config.model.pooling == "auto" else config.model.pooling
    set_seed(config.training.seed)
    model = build_classifier(
        encoder,
        names,
        head=config.model.head,
        pooling=pooling,
        attn_implementation=config.model.attn_implementation,
    )
    if config.model.lora_rank:
        add_adapters(model, config.model.lora_rank)
    say = functools.cache(lambda line: _say(console, line))  # each line once, however many splits it is true of
    cache = config.data.token_cache(encoder.tokenizer, say)

    def tokens(split: str) -> Dataset:
        return encode(getattr(splits, split), encoder.tokenizer, config.model.max_length, labels[split], cache)

    scored = {"validation": tokens("validation")}
    train = tokens("train")
    trainer = _trainer(config, model, encoder, pooling, train, scored["validation"], console)
    _train(trainer, directory, config, overwrite=overwrite, resume=resume, console=console)
    if config.model.lora_rank:
        merge_adapters(model)
    trainer.accelerator.unwrap_model(model, keep_fp32_wrapper=False)  # scores are those of the saved model, in float32
    _save_model(directory, model, encoder, pooling, config.model.max_length)
    if splits.test is not None:
        scored["test"] = tokens("test")
    most = config.training.per_device_eval_batch_size
    answers = {
        split: answer(model, documents, encoder.tokenizer, pooling=pooling, most=most)
        for split, documents in scored.items()
    }
    return _score(directory, splits, names, labels, answers)


def _keep_decisions(training: TrainingConfig, directory: RunDirectory) -> None:
    """What the machine decided when the run began is not decided again."""
    decided = directory.saved_config()
    for name in DECISIONS:
        if getattr(training, name) == "auto":
            setattr(training, name, str(decided.get(name, "auto")))


def _label(splits: Splits, console: Console) -> tuple[list[str], dict[str, list[int]]]:
    names = label_names(splits.train)
    single = single_labels(splits.train)
    if single:
        _say(console, f"note: one training document only for {listed(single)}; the graph cannot check these labels")
    labels = {"train": label_ids(splits.train, names), "validation": label_ids(splits.validation, names)}
    if splits.test is not None:
        labels["test"] = label_ids(splits.test, names)
    return names, labels


def _trainer(
    config: RunConfig,
    model: Classifier,
    encoder: Encoder,
    pooling: str,
    train: Dataset,
    validation: Dataset,
    console: Console,
) -> GraphLossTrainer:
    trainer = GraphLossTrainer(
        model,
        config.training,
        gloss=config.gloss,
        pooling=pooling,
        say=lambda line: _say(console, line),
        train_dataset=train,
        eval_dataset=validation,
        processing_class=encoder.tokenizer,
    )
    trainer.remove_callback(PrinterCallback)
    return trainer


def _train(
    trainer: GraphLossTrainer,
    directory: RunDirectory,
    config: RunConfig,
    *,
    overwrite: bool,
    resume: bool,
    console: Console,
) -> None:
    if overwrite:
        directory.clear()
    checkpoints = directory.checkpoints() if resume else []
    if resume and not checkpoints:
        _say(console, f"{directory.path} holds no checkpoint; starting over")
        directory.history.unlink(missing_ok=True)
    directory.path.mkdir(parents=True, exist_ok=True)
    write_yaml(directory.config, config.to_dict())
    write_json(directory.environment, describe_environment(config.training.seed, str(config.training.device)))
    report = Report(console)
    trainer.add_callback(History(directory.history))
    trainer.add_callback(report)
    try:
        trainer.train(resume_from_checkpoint=str(checkpoints[0]) if checkpoints else None)
    finally:
        report.close()


def _save_model(directory: RunDirectory, model: Classifier, encoder: Encoder, pooling: str, max_length: int) -> None:
    partial = directory.path / "model.partial"
    partial.mkdir(exist_ok=True)
    save_classifier(model, partial)
    encoder.tokenizer.model_max_length = max_length
    encoder.tokenizer.save_pretrained(partial)
    write_modules(partial, pooling=pooling, dimension=encoder.config.hidden_size, max_length=max_length)
    shutil.rmtree(directory.model, ignore_errors=True)  # of a run that was cut off after this, and resumed
    partial.replace(directory.model)


def _score(
    directory: RunDirectory,
    splits: Splits,
    names: list[str],
    labels: dict[str, list[int]],
    answers: dict[str, Answers],
) -> dict[str, Any]:
    metrics: dict[str, Any] = {}
    tables = []
    for split, answered in answers.items():
        probabilities = softmax(answered.logits.numpy())
        metrics[split] = classification_metrics(probabilities, np.asarray(labels[split]))
        tables.append(_predictions(split, getattr(splits, split), probabilities, names))
    partial = directory.predictions.with_suffix(".partial")
    pyarrow.parquet.write_table(pyarrow.concat_tables(tables), partial)
    partial.replace(directory.predictions)
    write_json(directory.metrics, metrics)
    directory.remove_checkpoints()
    return metrics


def _predictions(split: str, documents: Documents, probabilities: np.ndarray, names: list[str]) -> pyarrow.Table:
    best = probabilities.argmax(axis=1)
    return pyarrow.table(
        {
            "split": [split] * len(documents),
            "row": list(range(len(documents))),
            "text": documents.texts,
            "label": documents.labels,
            "prediction": [names[index] for index in best],
            "probability": probabilities.max(axis=1),
        }
    )


def _say(console: Console, line: str) -> None:
    console.print(line, markup=False, highlight=False, soft_wrap=True)
