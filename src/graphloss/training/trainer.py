"""The trainer: one encoder pass a step, its embeddings to the graph and its logits to cross-entropy."""

import logging
import math
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch
from accelerate.utils import TorchDynamoPlugin
from torch import Tensor, nn
from torch.utils.data import DataLoader
from transformers import (
    DataCollatorWithPadding,
    EarlyStoppingCallback,
    EvalPrediction,
    PreTrainedTokenizerBase,
)
from transformers.trainer_utils import EvalLoopOutput
from transformers.utils import enable_tf32, is_torch_tf32_available

from graphloss.evaluation.metrics import classification_metrics, softmax
from graphloss.evaluation.silhouette import macro_silhouette
from graphloss.graph.bandwidth import bandwidth_sqrt
from graphloss.losses.combined import CombinedLoss
from graphloss.losses.config import GLossConfig, MetricConfig
from graphloss.models.classifier import Classifier
from graphloss.models.dropout import quicken_dropout
from graphloss.models.encoder import usual_pooling
from graphloss.models.forward import Answers, answer
from graphloss.models.packing import PackedEncoder, takes_packed_sequences
from graphloss.models.parts import budget_of
from graphloss.models.pooling import HiddenStates, encoder_of, pool
from graphloss.training.checkpointed import CheckpointedTrainer
from graphloss.training.config import TrainingConfig
from graphloss.training.distributed import ProcessGroup, agreed, in_shares
from graphloss.training.failures import check_finite, check_weights, is_out_of_memory, out_of_memory
from graphloss.training.gradient_cache import Passed, pass_in_parts
from graphloss.training.hardware import fitting_micro_batch
from graphloss.training.last_fit import RunningFit
from graphloss.training.layer_rates import decay_by_layer
from graphloss.training.loading import batches_of, documents_of_an_epoch, load_batches
from graphloss.training.schedule import drop_after

logger = logging.getLogger(__name__)


class GraphLossTrainer(CheckpointedTrainer):
    """`transformers.Trainer` with the loss L = lambda L_embeddings + (1 - lambda) L_CE; standalone, L_embeddings alone.

    Args:
        model: any classifier of transformers over a `base_model`, also wrapped by peft.
        args: the settings of training.
        processing_class: the tokenizer of the encoder.
        gloss: the settings of the graph loss.
        metric: the settings of the losses that it is measured against.
        pooling: "first", "mean" or "last", what the graph sees of the last hidden state; where not given, "last" for
            decoders, else "first".
        ends_fitted: the last layer will be fitted once more after training: `evaluate` scores such a head, not the one
            that is trained beside it, and training that comes to its end keeps the weights it ended with. Validation
            documents choose the head that they are scored by; give `evaluate` no others.
        say: told, in one line each, what the user should know of how the run is done; by default it is logged.
        others: as in `transformers.Trainer`. The training data set holds input_ids, attention_mask and labels, -100
            for documents without a label.

    The graph spans the batches of all devices; accumulating gradients does not make it larger, while more devices and
    `per_device_train_batch_size` do, in the memory of `micro_batch_size`. The memory of the graph loss, if any, is
    emptied when an epoch begins, lest a document meets its own label. Checkpoints hold the state of the graph loss.
    What `precision` and `micro_batch_size` leave to the machine is decided once and written into `args`.

    Raises:
        NonFiniteLoss, OutOfMemory: of `training.failures`, from `train`.

    Source: Sharma, Agarwal & Kumar (2025), the integrated set-up.
    """

    args: TrainingConfig

    def __init__(
        self,
        model: Classifier,
        args: TrainingConfig,
        *,
        processing_class: PreTrainedTokenizerBase,
        gloss: GLossConfig | None = None,
        metric: MetricConfig | None = None,
        pooling: str | None = None,
        ends_fitted: bool = False,
        say: Callable[[str], None] = logger.warning,
        **others: Any,
    ) -> None:
        self.gloss = gloss or GLossConfig()
        self.say = say
        args.settle_precision(say)
        if others.get("train_dataset") is not None:
            args.settle_schedule(documents_of_an_epoch(others["train_dataset"]), model.config.hidden_size)
        if args.tf32 is None and is_torch_tf32_available() and self.gloss.transition == "row":
            enable_tf32(True)  # the graph stays out of it, but for the gradients of the dense transitions
        self.pooling = pooling or usual_pooling(model.config)
        self.num_labels = int(model.config.num_labels or 0)
        self.classifier = model
        self.tokenizer = processing_class
        self.budget = budget_of(args.device)
        self.ranks = ProcessGroup.of_this_run()
        others.setdefault("data_collator", DataCollatorWithPadding(processing_class))
        if args.setup != "standalone":  # there the head learns nothing before the encoder is done
            others.setdefault("compute_metrics", _metrics)
        super().__init__(model=model, args=args, processing_class=processing_class, **others)
        self.label_names = ["labels"]
        self.model_accepts_loss_kwargs = False
        self.loss_is_scaled_for_ga = False  # a mean over the batch, whose graph is its own
        self.combined_loss = CombinedLoss(
            args.loss,
            self.num_labels,
            gloss=self.gloss,
            metric=metric or MetricConfig(),
            standalone=args.setup == "standalone",
            class_weights=self._class_weights(),
            seed=args.seed,
            ranks=self.ranks,
        ).to(args.device)
        if args.torch_compile:
            self._compile(encoder_of(model))
        elif args.device.type == "cpu":
            quicken_dropout(model)
        if takes_packed_sequences(model):
            PackedEncoder(model)
        self.hidden_states = HiddenStates(model)
        if args.gradient_accumulation_steps > 1 and args.loss == "gloss":
            say(
                "note: gradient_accumulation_steps adds up gradients of small graphs; for one large graph raise "
                "per_device_train_batch_size, in the memory of micro_batch_size"
            )
        if args.micro_batch_size == "auto" and self.train_dataset is not None:
            args.micro_batch_size = str(agreed(self._fitting_micro_batch))
        self.keeps_last = ends_fitted
        self.running_fit = RunningFit(self.num_labels) if ends_fitted else None
        self.embeddings: Tensor | None = None
        self._losses: list[dict[str, Tensor]] = []
        self._graph_share: Tensor | None = None
        if args.patience and args.load_best_model_at_end:
            self.add_callback(EarlyStoppingCallback(args.patience))

    def compute_loss(
        self, model: nn.Module, inputs: dict[str, Tensor], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Tensor | tuple[Tensor, Any]:
        """The loss of one batch; in evaluation, cross-entropy alone."""
        labels = inputs["labels"]
        logits, embeddings, hidden_states = self._forward(
            model, {name: value for name, value in inputs.items() if name != "labels"}
        )
        logits, embeddings = logits[: len(labels)], embeddings[: len(labels)]  # a stand-in has no label
        if not model.training:
            loss = self.combined_loss.cross_entropy(logits, labels)
        else:
            step = self.state.global_step
            check_finite({"logits": logits, "embeddings": embeddings}, step + 1, fp16=self.args.fp16)
            loss, parts = self.combined_loss(logits, embeddings, labels, step=step, epoch=int(self.state.epoch or 0))
            self._losses.append({name: part.detach() for name, part in ({"loss": loss} | parts).items()})
            if self.running_fit is not None:
                self.running_fit.see(embeddings, labels)
            if self._logs_this_step():
                self._graph_share = self.combined_loss.graph_share(parts, hidden_states)
        return (loss, {"loss": loss, "logits": logits}) if return_outputs else loss

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Log, with the means of the losses since the last time and what the last batch's graph was like."""
        if "loss" in logs and self._losses:
            for name in self._losses[0]:
                logs[name] = float(torch.stack([losses[name].float() for losses in self._losses]).mean())
            graph_loss = self.combined_loss.graph_loss
            if graph_loss is not None:
                figures = {**graph_loss.diagnostics, "graph_loss": logs["graph_loss"]}
                figures["graph_weight"] = float(self.combined_loss.weights["graph_loss"])
                if self._graph_share is not None:
                    figures["graph_gradient_share"] = float(self._graph_share)
                # a batch with nothing to infer has no kernel width
                logs |= {name: value for name, value in figures.items() if not np.isnan(value)}
            self._losses = []
        super().log(logs, start_time)

    def create_optimizer(self, model: nn.Module | None = None) -> torch.optim.Optimizer:
        """As in `transformers.Trainer`, with rates by layer and a group for a learned kernel width."""
        created = self.optimizer is None
        optimizer = super().create_optimizer(model)
        if created and self.args.layer_decay < 1.0:
            decay_by_layer(optimizer, self.classifier, self.args.layer_decay)
        parameters = list(self.combined_loss.parameters())
        if created and parameters:
            rate = self.gloss.bandwidth_learning_rate
            optimizer.add_param_group({"params": parameters, "lr": rate, "weight_decay": 0.0})
            # transformers clears the gradients of the model alone
            optimizer.register_step_post_hook(lambda *_: self.combined_loss.zero_grad())
        return optimizer

    def create_scheduler(
        self, num_training_steps: int, optimizer: torch.optim.Optimizer | None = None
    ) -> torch.optim.lr_scheduler.LRScheduler:
        """As in `transformers.Trainer`, with the drop of `learning_rate_drop`."""
        created = self.lr_scheduler is None
        schedule = super().create_scheduler(num_training_steps, optimizer)
        if created and self.args.learning_rate_drop:
            epoch = math.ceil(len(self.get_train_dataloader()) / self.args.gradient_accumulation_steps)
            drop_after(schedule, round(self.args.learning_rate_drop * epoch))
        return schedule

    def evaluate(self, *arguments: Any, **settings: Any) -> dict[str, float]:
        """As in `transformers.Trainer`, by a head that is fitted now where one will be; refuses weights that are not
        finite."""
        self._check_weights()
        return super().evaluate(*arguments, **settings)

    def evaluation_loop(
        self,
        dataloader: DataLoader,
        description: str,
        prediction_loss_only: bool | None = None,
        ignore_keys: list[str] | None = None,
        metric_key_prefix: str = "eval",
    ) -> EvalLoopOutput:
        """One pass over the documents, in parts of like length, in the precision of the run.

        Its logits are scored, or in `evaluate` those of a head that is fitted now where one will be; its embeddings,
        which `embeddings` keeps, are measured: their macro-silhouette, and the kernel width that the rule "sqrt" gives.
        """
        tokens: Any = dataloader.dataset
        answers = self.answer(tokens)
        self.embeddings = answers.embeddings
        logits, metrics = answers.logits, {"bandwidth_sqrt": float(bandwidth_sqrt(answers.embeddings))}
        labels = None
        if "labels" in tokens.column_names:
            labels = np.asarray(tokens["labels"])
            if metric_key_prefix.startswith("eval"):  # not of `predict`
                logits = self._scored(answers, torch.from_numpy(labels))
            if self.compute_metrics:
                metrics |= self.compute_metrics(EvalPrediction(logits.numpy(), labels))
                metrics["loss"] = float(self.combined_loss.cross_entropy(logits, torch.from_numpy(labels)))
            metrics["macro_silhouette"] = macro_silhouette(answers.embeddings.numpy(), labels, seed=self.args.seed)
        metrics = {f"{metric_key_prefix}_{name}": value for name, value in metrics.items() if np.isfinite(value)}
        return EvalLoopOutput(logits.numpy(), labels, metrics, len(logits))

    def answer(self, tokens: Any) -> Answers:
        """Logits and embeddings of tokenized documents, in the precision of the run and without gradient."""
        with self.accelerator.autocast():
            most = self.args.per_device_eval_batch_size
            ask = partial(
                answer,
                self.classifier,
                tokenizer=self.tokenizer,
                pooling=self.pooling,
                most=most,
                shared_weights=self.is_fsdp_enabled,
            )
            # where weights are collected for each pass, all processes take the same passes
            return ask(tokens) if self.is_fsdp_enabled else in_shares(tokens, ask)

    def get_train_dataloader(self) -> DataLoader:
        """As in `transformers.Trainer`; with class-aware batches where they are asked for, with batches that are filled
        up with unlabelled documents where there are some, and with batches that several processes share."""
        tokens = self._remove_unused_columns(self.train_dataset, description="training")
        batch_size = self._train_batch_size * self.args.world_size
        batches = batches_of(tokens, self.args, self.gloss, batch_size, self.ranks)
        if batches is None:
            return super().get_train_dataloader()
        return load_batches(tokens, batches, self.args, self.data_collator, self.ranks)

    def training_step(self, model: nn.Module, inputs: dict[str, Any], num_items_in_batch: Any = None) -> Tensor:
        """As in `transformers.Trainer`; says what to set where memory is not enough."""
        try:
            return super().training_step(model, inputs, num_items_in_batch)
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
            step, micro = self.state.global_step + 1, int(self.args.micro_batch_size)
            raise out_of_memory(
                inputs, self.train_dataset, self.tokenizer, step=step, micro_batch_size=micro
            ) from error

    def progress(self) -> dict[str, Any]:
        """What a checkpoint keeps of the loss, and of the losses since the last line of the log."""
        kept = {"loss": self.combined_loss.progress(), "since_log": self._losses}
        return kept if self.running_fit is None else kept | {"running_fit": self.running_fit.progress()}

    def go_on(self, progress: dict[str, Any]) -> None:
        """Go on from what `progress` gave."""
        self.combined_loss.go_on(progress["loss"])
        self._losses = progress["since_log"]
        if self.running_fit is not None:
            self.running_fit.go_on(progress["running_fit"])

    def _save_checkpoint(self, model: nn.Module, trial: Any) -> None:
        self._check_weights()
        super()._save_checkpoint(model, trial)

    def _forward(self, model: nn.Module, inputs: dict[str, Tensor]) -> tuple[Tensor, Tensor, list[Tensor]]:
        """Logits (B, C), embeddings (B, d), and the last hidden states of the documents that are held in memory."""
        count, micro = None, int(self.args.micro_batch_size)
        if self.ranks is not None and self.is_fsdp_enabled:  # each pass collects weights: all take the same number
            micro = max(micro, 2)  # at 1, the process with the fewest documents could not
            count = -(-self.ranks.largest(len(inputs["input_ids"])) // micro)
        return pass_in_parts(
            lambda tensors: self._pass(self.classifier, tensors),
            inputs,
            self.budget,
            micro,
            lambda tensors: self._pass(model, tensors),
            count,
        )

    def _pass(self, model: nn.Module, tensors: dict[str, Tensor]) -> Passed:
        logits = model(**tensors).logits
        hidden_states = self.hidden_states.take()
        return Passed(logits, pool(hidden_states, tensors["attention_mask"], self.pooling), hidden_states)

    def _compile(self, encoder: nn.Module) -> None:
        """Compile the encoder alone, for any shape: heads, poolings and the graph stay outside, and so do hooks."""
        self.accelerator.state.dynamo_plugin = TorchDynamoPlugin(backend="no")  # it would compile the whole, by shape
        encoder.forward = torch.compile(
            encoder.forward,
            backend=self.args.torch_compile_backend or "inductor",
            mode=self.args.torch_compile_mode,
            dynamic=True,
        )

    def _fitting_micro_batch(self) -> int:
        tensors = self._prepare_inputs(self.data_collator([self._longest_document()]))
        tensors.pop("labels", None)
        model, training = self.classifier, self.classifier.training
        model.train()
        with self.accelerator.autocast(), torch.random.fork_rng():  # dropout goes on as if nothing had been
            found = fitting_micro_batch(
                lambda: self._pass(model, tensors), model, self.args.device, self._train_batch_size
            )
        model.train(training)
        return found

    def _longest_document(self) -> dict[str, Any]:
        tokens = self._remove_unused_columns(self.train_dataset, description="training")
        return tokens[int(np.argmax([len(row) for row in tokens["input_ids"]]))]

    def _logs_this_step(self) -> bool:
        step = self.state.global_step + 1
        return step % max(int(self.state.logging_steps), 1) == 0 or (step == 1 and self.args.logging_first_step)

    def _class_weights(self) -> Tensor | None:
        if self.args.class_weights == "none" or self.train_dataset is None:
            return None
        labels = np.asarray(self.train_dataset["labels"])
        counts = np.bincount(labels[labels >= 0], minlength=self.num_labels)
        weights = counts.sum() / (self.num_labels * np.maximum(counts, 1))
        return torch.tensor(weights, dtype=torch.float32, device=self.args.device)

    def _scored(self, answers: Answers, labels: Tensor) -> Tensor:
        """Logits of validation documents, by the head that would be fitted now where one will be."""
        if self.running_fit is None:
            return answers.logits
        fitted = self.running_fit.logits(answers.embeddings, labels, self.ranks)
        return answers.logits if fitted is None else fitted

    def _check_weights(self) -> None:
        check_weights(self.classifier, self.state.global_step, fp16=self.args.fp16)


def _metrics(prediction: EvalPrediction) -> dict[str, float | int]:
    logits, labels = np.asarray(prediction.predictions), np.asarray(prediction.label_ids)
    return classification_metrics(softmax(logits), labels)
