"""Trainers with one idea each that is no setting of the package; `ablations.py` measures them."""

import copy
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import TrainerCallback

from graphloss.data.documents import Documents
from graphloss.data.tokens import encode
from graphloss.data.words import WordVectors
from graphloss.evaluation.metrics import classification_metrics, softmax
from graphloss.graph import bandwidth_loo, propagate, split_batch
from graphloss.models.pooling import pool
from graphloss.training.gradient_cache import Passed
from graphloss.training.trainer import GraphLossTrainer


class Interpolated(GraphLossTrainer):
    """Between the weights before training and those after it, the share that validation documents like best (Wortsman
    et al., 2022, WiSE-FT)."""

    def train(self, *arguments: Any, **settings: Any) -> Any:
        """As in the trainer, with what the class says at the end."""
        before = copy.deepcopy(self.classifier.state_dict())
        output = super().train(*arguments, **settings)
        after = copy.deepcopy(self.classifier.state_dict())
        scores = {}
        for share in (0.2, 0.4, 0.6, 0.8, 1.0):
            self._load(before, after, share)
            logits = self.answer(self.eval_dataset).logits.numpy()
            scores[share] = classification_metrics(softmax(logits), np.asarray(self.eval_dataset["labels"]))["macro_f1"]
        self._load(before, after, max(scores, key=lambda share: (scores[share], share)))
        return output

    def _load(self, before: dict[str, Tensor], after: dict[str, Tensor], share: float) -> None:
        mixed = {
            name: torch.lerp(before[name], after[name], share) if after[name].is_floating_point() else after[name]
            for name in after
        }
        self.classifier.load_state_dict(mixed)


class Averaged(GraphLossTrainer):
    """The mean of the weights after each step of the second half of training (Izmailov et al., 2018)."""

    def train(self, *arguments: Any, **settings: Any) -> Any:
        """As in the trainer, with what the class says at the end."""
        mean = _MeanWeights(self.classifier)
        self.add_callback(mean)
        output = super().train(*arguments, **settings)
        with torch.no_grad():
            for parameter, total in zip(self.classifier.parameters(), mean.totals, strict=True):
                parameter.copy_(total / mean.steps)
        return output


class _MeanWeights(TrainerCallback):
    def __init__(self, model: nn.Module) -> None:
        self.model, self.steps = model, 0
        self.totals = [torch.zeros_like(parameter) for parameter in model.parameters()]

    @torch.no_grad()
    def on_step_end(self, args: Any, state: Any, control: Any, **others: Any) -> None:
        if 2 * state.global_step > state.max_steps:
            self.steps += 1
            torch._foreach_add_(self.totals, list(self.model.parameters()))


class TwoViews(GraphLossTrainer):
    """Each document twice in the batch, with dropout of its own: both are nodes of the graph (Gao et al., 2021)."""

    def compute_loss(self, model: nn.Module, inputs: dict[str, Tensor], *others: Any, **named: Any) -> Any:
        """As in the trainer, with what the class says."""
        if model.training:
            inputs = {name: torch.cat([tensor, tensor]) for name, tensor in inputs.items()}
        return super().compute_loss(model, inputs, *others, **named)


class Consistent(GraphLossTrainer):
    """Two passes with another dropout, whose predictions are to agree (Liang et al., 2021, R-Drop)."""

    WEIGHT = 1.0

    def _forward(self, model: nn.Module, inputs: dict[str, Tensor]) -> tuple[Tensor, Tensor, list[Tensor]]:
        logits, embeddings, hidden_states = super()._forward(model, inputs)
        self.disagreement = logits.new_zeros(())
        if model.training:
            other = super()._forward(model, inputs)[0]
            one, two = logits.float().log_softmax(dim=1), other.float().log_softmax(dim=1)
            both = [
                functional.kl_div(a, b, log_target=True, reduction="batchmean") for a, b in ((one, two), (two, one))
            ]
            self.disagreement = torch.stack(both).mean()
        return logits, embeddings, hidden_states

    def compute_loss(self, model: nn.Module, inputs: dict[str, Tensor], *others: Any, **named: Any) -> Any:
        """As in the trainer, with what the class says."""
        loss = super().compute_loss(model, inputs, *others, **named)
        return loss + self.WEIGHT * self.disagreement if model.training else loss


class Agreeing(GraphLossTrainer):
    """The gradient of the graph loss without what goes against that of cross-entropy, document by document (Yu et al.,
    2020, PCGrad). For a linear head, which reads the embeddings themselves."""

    def _forward(self, model: nn.Module, inputs: dict[str, Tensor]) -> tuple[Tensor, Tensor, list[Tensor]]:
        _, embeddings, hidden_states = super()._forward(model, inputs)
        to_head, to_graph = _GiveWay.apply(embeddings.float())
        classifier = self.classifier
        return classifier.head(classifier.dropout(to_head)), to_graph, hidden_states


class _GiveWay(torch.autograd.Function):
    """The same rows twice; of the second gradient only what does not go against the first goes back."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor) -> tuple[Tensor, Tensor]:
        return rows.clone(), rows.clone()

    @staticmethod
    def backward(ctx: Any, first: Tensor, second: Tensor) -> Tensor:
        against = (first * second).sum(dim=1, keepdim=True).clamp(max=0.0)
        return first + second - against * first / first.square().sum(dim=1, keepdim=True).clamp(min=1e-20)


class Viewing(GraphLossTrainer):
    """Takes a batch in another way than by its embeddings: as the encoder took it before training ("untouched") or when
    the epoch began ("epoch"), or by the words of the whole texts ("words"). For subclasses."""

    VIEW = "now"
    TEXTS: tuple[str, ...] = ()  # of the training documents; set before a run whose view is of words

    def train(self, *arguments: Any, **settings: Any) -> Any:
        """As in the trainer, with what the view needs beside the model."""
        if self.VIEW in ("untouched", "epoch"):
            self.earlier = copy.deepcopy(self.classifier).requires_grad_(False).eval()
        if self.VIEW == "epoch":
            self.add_callback(_WhenEpochsBegin(lambda: self.earlier.load_state_dict(self.classifier.state_dict())))
        if self.VIEW == "words":
            documents = Documents(list(self.TEXTS))
            self.words = WordVectors.fit(documents).transform(documents)
            longest = max(map(len, self.train_dataset["input_ids"]))
            ids = encode(documents, self.tokenizer, longest)["input_ids"]
            self.rows = {tuple(row): number for number, row in enumerate(ids)}
        return super().train(*arguments, **settings)

    @torch.no_grad()
    def view(self, inputs: dict[str, Tensor]) -> Tensor:
        """(B, d) float, without gradient."""
        if self.VIEW == "words":
            masks = inputs["attention_mask"].bool()
            rows = [self.rows[tuple(ids[mask].tolist())] for ids, mask in zip(inputs["input_ids"], masks, strict=True)]
            return torch.from_numpy(self.words[rows].toarray())
        if self.VIEW == "now":
            return self.passed[1].detach().float()
        return embed(self.earlier, inputs, self.pooling)

    def _forward(self, model: nn.Module, inputs: dict[str, Tensor]) -> tuple[Tensor, Tensor, list[Tensor]]:
        self.passed = super()._forward(model, inputs)
        return self.passed


class _WhenEpochsBegin(TrainerCallback):
    def __init__(self, do: Callable[[], Any]) -> None:
        self.do = do

    def on_epoch_begin(self, *arguments: Any, **others: Any) -> None:
        self.do()


class Distilled(Viewing):
    """The head also learns what the graph of a view says of the documents whose label is hidden from it: one that is
    never renewed, once an epoch, or at each step."""

    SHARE = 0.3  # of the whole loss

    def compute_loss(self, model: nn.Module, inputs: dict[str, Tensor], *others: Any, **named: Any) -> Any:
        """As in the trainer, with what the class says."""
        loss = super().compute_loss(model, inputs, *others, **named)
        if not model.training:
            return loss
        logits, labels, nodes = self.passed[0], inputs["labels"], self.view(inputs)
        width = bandwidth_loo(nodes, labels)
        generator = torch.Generator().manual_seed(self.state.global_step)
        soft = []
        for labelled, masked in split_batch(labels, 0.7, "folds", generator):
            said = propagate(nodes, labels, labelled, masked, num_labels=self.num_labels, bandwidth=width)
            soft.append(functional.cross_entropy(logits[masked].float(), said))
        return (1.0 - self.SHARE) * loss + self.SHARE * torch.stack(soft).mean()


class AlikeInBoth(Viewing):
    """Documents are alike in the graph that are so now and in the view: the two Gaussian affinities are multiplied."""

    def _forward(self, model: nn.Module, inputs: dict[str, Tensor]) -> tuple[Tensor, Tensor, list[Tensor]]:
        logits, embeddings, hidden_states = super()._forward(model, inputs)
        if model.training:
            embeddings = side_by_side(embeddings, self.view(inputs))
        return logits, embeddings, hidden_states


class TwoLayers(GraphLossTrainer):
    """The graph sees the layer in the middle of the encoder beside the last one."""

    def _pass(self, model: nn.Module, tensors: dict[str, Tensor]) -> Passed:
        layers = self.classifier.base_model.encoder.layer
        caught = []
        handle = layers[len(layers) // 2 - 1].register_forward_hook(lambda *given: caught.append(given[-1]))
        logits, embeddings, hidden_states = super()._pass(model, tensors)
        handle.remove()
        middle = pool(caught[0] if isinstance(caught[0], Tensor) else caught[0][0], tensors["attention_mask"], "mean")
        return Passed(logits, side_by_side(embeddings, middle), hidden_states)


class Projected(GraphLossTrainer):
    """The graph sees what two further layers make of the embeddings (Chen et al., 2020, SimCLR)."""

    WIDTH = 128

    def create_optimizer(self, model: nn.Module | None = None) -> torch.optim.Optimizer:
        """As in the trainer, with the layers in a group of their own."""
        size = self.classifier.config.hidden_size
        self.projection = nn.Sequential(nn.Linear(size, size), nn.ReLU(), nn.Linear(size, self.WIDTH))
        optimizer = super().create_optimizer(model)
        optimizer.add_param_group({"params": list(self.projection.parameters()), "lr": 1e-3})
        optimizer.register_step_post_hook(lambda *_: self.projection.zero_grad())
        return optimizer

    def _forward(self, model: nn.Module, inputs: dict[str, Tensor]) -> tuple[Tensor, Tensor, list[Tensor]]:
        logits, embeddings, hidden_states = super()._forward(model, inputs)
        return logits, self.projection(embeddings.float()) if model.training else embeddings, hidden_states


class Taught(GraphLossTrainer):
    """The memory of the graph holds what a slowly moving mean of the weights says (He et al., 2020, MoCo; Tarvainen &
    Valpola, 2017)."""

    KEPT = 0.9

    def train(self, *arguments: Any, **settings: Any) -> Any:
        """As in the trainer, with a teacher beside the model."""
        self.teacher = copy.deepcopy(self.classifier).requires_grad_(False).eval()
        return super().train(*arguments, **settings)

    def compute_loss(self, model: nn.Module, inputs: dict[str, Tensor], *others: Any, **named: Any) -> Any:
        """As in the trainer, with what the class says."""
        loss = super().compute_loss(model, inputs, *others, **named)
        if model.training:
            graph_loss = self.combined_loss.graph_loss
            with torch.no_grad():
                for kept, now in zip(self.teacher.parameters(), self.classifier.parameters(), strict=True):
                    kept.lerp_(now, 1.0 - self.KEPT)
                said = embed(self.teacher, inputs, self.pooling)
            graph_loss._progress.pending = (said, inputs["labels"], graph_loss.step - 1)
        return loss


def embed(model: nn.Module, inputs: dict[str, Tensor], pooling: str) -> Tensor:
    """(B, d) float32, what another model makes of a batch."""
    tokens = {name: tensor for name, tensor in inputs.items() if name != "labels"}
    return pool(model.base_model(**tokens)[0], inputs["attention_mask"], pooling).float()


def side_by_side(one: Tensor, other: Tensor) -> Tensor:
    """Two views of the same documents as one, in which neither has a longer length."""
    return torch.cat([functional.normalize(each.float(), dim=1) for each in (one, other)], dim=1)


def of(trainer: type[Viewing], view: str) -> type[Viewing]:
    """The trainer with a view."""
    return type(f"{trainer.__name__}By{view.capitalize()}", (trainer,), {"VIEW": view})
