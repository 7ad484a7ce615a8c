"""The trainer: one encoder pass a step, its embeddings to the graph and its logits to cross-entropy."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import DataCollatorWithPadding, EarlyStoppingCallback, EvalPrediction, Trainer

from graphloss.evaluation.metrics import classification_metrics, softmax
from graphloss.models.classifier import Classifier
from graphloss.models.encoder import usual_pooling
from graphloss.models.pooling import HiddenStates, pool
from graphloss.training.config import GLossConfig, TrainingConfig
from graphloss.training.splitting import split_by_length

GRAPH_LOSS_STATE = "graph_loss.pt"


class NonFiniteLoss(RuntimeError):
    """Training stopped because the loss was not a finite number; says the step and the likely cause."""


class GraphLossTrainer(Trainer):
    """`transformers.Trainer` with the loss L = lambda L_graph + (1 - lambda) L_CE.

    Args:
        model: any classifier of transformers over a `base_model`, also wrapped by peft.
        args: the settings of training.
        gloss: the settings of the graph loss.
        pooling: "first", "mean" or "last", what the graph sees of the last hidden state; where not given, "last" for
            decoders, else "first".
        others: as in `transformers.Trainer`. The training data set holds input_ids, attention_mask and labels, -100
            for documents without a label.

    The graph spans a batch of one device; accumulating gradients does not make it larger. Its memory, if any, is
    emptied when an epoch begins, lest a document meets its own label. Checkpoints hold the state of the graph loss.

    Raises:
        NonFiniteLoss: from `train`, where a loss or a weight stops being finite.

    Source: Sharma, Agarwal & Kumar (2025), the integrated set-up.
    """

    args: TrainingConfig

    def __init__(
        self,
        model: Classifier,
        args: TrainingConfig,
        *,
        gloss: GLossConfig | None = None,
        pooling: str | None = None,
        **others: Any,
    ) -> None:
        self.gloss = gloss or GLossConfig()
        self.pooling = pooling or usual_pooling(model.config)
        self.num_labels = int(model.config.num_labels or 0)
        tokenizer = others.get("processing_class")
        if tokenizer is not None:
            others.setdefault("data_collator", DataCollatorWithPadding(tokenizer))
        others.setdefault("compute_metrics", _metrics)
        super().__init__(model=model, args=args, **others)
        self.label_names = ["labels"]
        self.model_accepts_loss_kwargs = False
        self.loss_is_scaled_for_ga = False  # a mean over the batch, whose graph is its own
        self.class_weights = self._class_weights()
        self.graph_loss = self.gloss.build(self.num_labels, class_weights=self.class_weights, seed=args.seed)
        self.graph_loss.to(args.device)
        self.hidden_states = HiddenStates(model)
        self._epoch = 0
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
        loss = self._cross_entropy(logits, labels)
        if model.training:
            self._check_finite({"ce_loss": loss, "embeddings": embeddings})
            parts = {"ce_loss": loss}
            if self.args.loss == "gloss":
                parts |= {"graph_loss": self._graph_loss_of(embeddings, labels)}
                loss = torch.lerp(loss, parts["graph_loss"].to(loss), self.gloss.graph_weight)
                if self._logs_this_step():
                    self._graph_share = self._share_of_gradient(parts, hidden_states)
            self._losses.append({name: part.detach() for name, part in parts.items()})
        return (loss, {"loss": loss, "logits": logits}) if return_outputs else loss

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Log, with the means of the losses since the last time and what the last batch's graph was like."""
        if "loss" in logs and self._losses:
            for name in self._losses[0]:
                logs[name] = float(torch.stack([losses[name].float() for losses in self._losses]).mean())
            if "graph_loss" in self._losses[0]:
                figures = {**self.graph_loss.diagnostics, "graph_loss": logs["graph_loss"]}
                if self._graph_share is not None:
                    figures["graph_gradient_share"] = float(self._graph_share)
                # a batch with nothing to infer has no kernel width
                logs |= {name: value for name, value in figures.items() if not np.isnan(value)}
            self._losses = []
        super().log(logs, start_time)

    def create_optimizer(self, model: nn.Module | None = None) -> torch.optim.Optimizer:
        """As in `transformers.Trainer`, with a group for a learned kernel width."""
        created = self.optimizer is None
        optimizer = super().create_optimizer(model)
        if created and self.args.loss == "gloss":
            parameters = list(self.graph_loss.parameters())
            if parameters:
                rate = self.gloss.bandwidth_learning_rate
                optimizer.add_param_group({"params": parameters, "lr": rate, "weight_decay": 0.0})
                # transformers clears the gradients of the model alone
                optimizer.register_step_post_hook(lambda *_: self.graph_loss.zero_grad())
        return optimizer

    def evaluate(self, *arguments: Any, **settings: Any) -> dict[str, float]:
        """As in `transformers.Trainer`; refuses weights that are not finite."""
        self._check_weights()
        return super().evaluate(*arguments, **settings)

    def _save_checkpoint(self, model: nn.Module, trial: Any) -> None:
        self._check_weights()
        super()._save_checkpoint(model, trial)

    def _save_optimizer_and_scheduler(self, output_dir: str) -> None:
        super()._save_optimizer_and_scheduler(output_dir)
        torch.save({"epoch": self._epoch, "state": self.graph_loss.state_dict()}, Path(output_dir) / GRAPH_LOSS_STATE)

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        super()._load_optimizer_and_scheduler(checkpoint)
        if checkpoint is not None and (path := Path(checkpoint) / GRAPH_LOSS_STATE).exists():
            saved = torch.load(path, map_location=self.args.device, weights_only=True)
            self._epoch = saved["epoch"]
            self.graph_loss.load_state_dict(saved["state"])

    def _forward(self, model: nn.Module, inputs: dict[str, Tensor]) -> tuple[Tensor, Tensor, list[Tensor]]:
        """Logits (B, C), embeddings (B, d) and last hidden states of a batch, from one pass over each document."""
        rows, logits, embeddings, hidden_states = [], [], [], []
        for part, tensors in split_by_length(inputs, self.args.length_splits):
            rows.append(part)
            logits.append(model(**tensors).logits)
            hidden_states.append(self.hidden_states.take())
            embeddings.append(pool(hidden_states[-1], tensors["attention_mask"], self.pooling))
        back = torch.cat(rows).argsort()
        return torch.cat(logits)[back], torch.cat(embeddings)[back], hidden_states

    def _graph_loss_of(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        epoch = int(self.state.epoch or 0)
        if epoch != self._epoch:
            self._epoch = epoch
            self.graph_loss.forget()
        self.graph_loss.step = self.state.global_step
        return self.graph_loss(embeddings, labels)

    def _logs_this_step(self) -> bool:
        step = self.state.global_step + 1
        return step % max(int(self.state.logging_steps), 1) == 0 or (step == 1 and self.args.logging_first_step)

    def _share_of_gradient(self, parts: dict[str, Tensor], hidden_states: list[Tensor]) -> Tensor | None:
        """How much of the gradient with respect to the last hidden states comes from the graph, by norm."""
        if not all(states.requires_grad for states in hidden_states):
            return None
        norms = []
        for name, weight in (("graph_loss", self.gloss.graph_weight), ("ce_loss", 1.0 - self.gloss.graph_weight)):
            gradients = torch.autograd.grad(parts[name], hidden_states, retain_graph=True, allow_unused=True)
            squares = [gradient.float().square().sum() for gradient in gradients if gradient is not None]
            norms.append(weight * torch.stack(squares).sum().sqrt() if squares else torch.zeros(()))
        return norms[0] / (norms[0] + norms[1])

    def _class_weights(self) -> Tensor | None:
        if self.args.class_weights == "none" or self.train_dataset is None:
            return None
        labels = np.asarray(self.train_dataset["labels"])
        counts = np.bincount(labels[labels >= 0], minlength=self.num_labels)
        weights = counts.sum() / (self.num_labels * np.maximum(counts, 1))
        return torch.tensor(weights, dtype=torch.float32, device=self.args.device)

    def _cross_entropy(self, logits: Tensor, labels: Tensor) -> Tensor:
        if (labels == -100).all():
            return logits.float().sum() * 0.0
        return functional.cross_entropy(logits.float(), labels, weight=self.class_weights)

    def _check_finite(self, parts: dict[str, Tensor]) -> None:
        """Before the graph is built: of finite embeddings its loss is finite."""
        if torch.stack([torch.isfinite(part).all() for part in parts.values()]).all():
            return
        wrong = [name for name, part in parts.items() if not torch.isfinite(part).all()]
        raise NonFiniteLoss(
            f"step {self.state.global_step + 1}: the loss is not finite, because of {' and '.join(wrong)}; "
            + self._remedy()
        )

    def _check_weights(self) -> None:
        assert self.model is not None
        for name, weight in self.model.named_parameters():
            if not torch.isfinite(weight).all():
                raise NonFiniteLoss(
                    f"step {self.state.global_step}: weight {name} is not finite, after a gradient that was not; "
                    + self._remedy()
                )

    def _remedy(self) -> str:
        return "lower --learning_rate" + (", or train without --fp16" if self.args.fp16 else "")


def _metrics(prediction: EvalPrediction) -> dict[str, float | int]:
    logits, labels = np.asarray(prediction.predictions), np.asarray(prediction.label_ids)
    return classification_metrics(softmax(logits), labels)
