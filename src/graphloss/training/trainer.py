"""The trainer: one encoder pass a step, its embeddings to the graph and its logits to cross-entropy."""

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

    The graph spans a batch of one device; accumulating gradients does not make it larger.

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
        self._logged: list[dict[str, float]] = []
        if args.patience and args.load_best_model_at_end:
            self.add_callback(EarlyStoppingCallback(args.patience))

    def compute_loss(
        self, model: nn.Module, inputs: dict[str, Tensor], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Tensor | tuple[Tensor, Any]:
        """The loss of one batch; in evaluation, cross-entropy alone."""
        labels = inputs["labels"]
        logits, embeddings = self._forward(model, {name: value for name, value in inputs.items() if name != "labels"})
        loss = self._cross_entropy(logits, labels)
        if model.training:
            parts = {"ce_loss": loss}
            if self.args.loss == "gloss":
                self.graph_loss.step = self.state.global_step
                graph_loss = self.graph_loss(embeddings, labels)
                loss = torch.lerp(loss, graph_loss.to(loss), self.gloss.graph_weight)
                parts |= {"graph_loss": graph_loss, "embeddings": embeddings}
            self._check_finite(loss, parts)
            self._note(parts)
        return (loss, {"loss": loss, "logits": logits}) if return_outputs else loss

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Log, with the means of what the graph measured since the last time."""
        if "loss" in logs and self._logged:
            for name in self._logged[0]:
                values = [entry[name] for entry in self._logged if not np.isnan(entry[name])]
                if values:  # a batch with nothing to infer has no kernel width
                    logs[name] = float(np.mean(values))
            self._logged = []
        super().log(logs, start_time)

    def evaluate(self, *arguments: Any, **settings: Any) -> dict[str, float]:
        """As in `transformers.Trainer`; refuses weights that are not finite."""
        self._check_weights()
        return super().evaluate(*arguments, **settings)

    def _save_checkpoint(self, model: nn.Module, trial: Any) -> None:
        self._check_weights()
        super()._save_checkpoint(model, trial)

    def _forward(self, model: nn.Module, inputs: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Logits (B, C) and embeddings (B, d) of a batch, from one pass over each document."""
        rows, logits, embeddings = [], [], []
        for part, tensors in split_by_length(inputs, self.args.length_splits):
            rows.append(part)
            logits.append(model(**tensors).logits)
            embeddings.append(pool(self.hidden_states.take(), tensors["attention_mask"], self.pooling))
        back = torch.cat(rows).argsort()
        return torch.cat(logits)[back], torch.cat(embeddings)[back]

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

    def _check_finite(self, loss: Tensor, parts: dict[str, Tensor]) -> None:
        if torch.isfinite(loss):
            return
        wrong = [name for name, value in parts.items() if not torch.isfinite(value).all()]
        raise NonFiniteLoss(
            f"step {self.state.global_step + 1}: the loss is {loss.item()}, because of {' and '.join(wrong)}; "
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

    def _note(self, parts: dict[str, Tensor]) -> None:
        entry = {"ce_loss": parts["ce_loss"].item()}
        if "graph_loss" in parts:
            entry |= self.graph_loss.diagnostics
        self._logged.append(entry)


def _metrics(prediction: EvalPrediction) -> dict[str, float | int]:
    logits, labels = np.asarray(prediction.predictions), np.asarray(prediction.label_ids)
    return classification_metrics(softmax(logits), labels)
