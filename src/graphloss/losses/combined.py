"""The sum that training makes small: a loss on embeddings and cross-entropy."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from graphloss.graph.affinity import at_least_float32
from graphloss.graph.sharing import Ranks
from graphloss.losses.config import GLossConfig, MetricConfig
from graphloss.losses.gloss import GLoss
from graphloss.losses.metric import METRIC_LOSSES, MetricLoss
from graphloss.losses.skill import Skill


class CombinedLoss(nn.Module):
    """L = lambda L_embeddings + (1 - lambda) L_CE.

    Args:
        name: "gloss", "scl", "triplet" or "cosine" for L_embeddings; "ce" for cross-entropy alone.
        num_labels: C.
        gloss: settings of the graph loss; its graph_weight is lambda for "gloss", or with graph_weighting "skill" what
            lambda is a share of.
        metric: settings of the others; its metric_weight is lambda for them.
        standalone: leave cross-entropy out.
        class_weights: (C,) weights of the classes in cross-entropy and graph loss; None for equal ones.
        seed: of what the graph loss draws.
        ranks: processes whose documents make up a batch together; None for one process.

    Attributes:
        weights: of the parts, by their name in the logs: "graph_loss" or "metric_loss", and "ce_loss". Where they
            change, those of the last batch.

    Source: Sharma, Agarwal & Kumar (2025), integrated and standalone set-up.
    """

    class_weights: Tensor | None

    def __init__(
        self,
        name: str,
        num_labels: int,
        *,
        gloss: GLossConfig,
        metric: MetricConfig,
        standalone: bool = False,
        class_weights: Tensor | None = None,
        seed: int = 0,
        ranks: Ranks | None = None,
    ) -> None:
        super().__init__()
        self.register_buffer("class_weights", class_weights, persistent=False)
        self.graph_loss: GLoss | None = None
        self.metric_loss: MetricLoss | None = None
        self.ranks = ranks
        part, weight = "ce_loss", 1.0
        if name == "gloss":
            self.graph_loss = gloss.build(num_labels, class_weights=class_weights, seed=seed, ranks=ranks)
            part, weight = "graph_loss", gloss.graph_weight
        elif name in METRIC_LOSSES:
            self.metric_loss = MetricLoss(name, temperature=metric.temperature, margin=metric.margin)
            part, weight = "metric_loss", metric.metric_weight
        self.weights: dict[str, Any] = {part: 1.0}
        if not standalone and part != "ce_loss":
            self.weights = {part: weight, "ce_loss": 1.0 - weight}
        by_skill = len(self.weights) == 2 and part == "graph_loss" and gloss.graph_weighting == "skill"
        self.skill = Skill(num_labels, weight, class_weights) if by_skill else None
        self.epoch = 0

    def forward(
        self, logits: Tensor, embeddings: Tensor, labels: Tensor, *, step: int, epoch: int
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """The sum and its parts, over the documents of all processes.

        Args:
            logits: (B, C) float.
            embeddings: (B, d) float.
            labels: (B,) int64, -100 for no label.
            step: of training, from 0; the graph loss draws by it.
            epoch: from 0; its memory, if any, is emptied when one begins, lest a document meets its own label.
        """
        parts: dict[str, Tensor] = {}
        if self.ranks is not None:
            counts = self.ranks.counts(labels)
            logits, embeddings = (
                self.ranks.gather_with_gradient(at_least_float32(rows), counts) for rows in (logits, embeddings)
            )
            labels = self.ranks.gather(labels, counts)
        if self.graph_loss is not None:
            if epoch != self.epoch:
                self.epoch = epoch
                self.graph_loss.forget()
            self.graph_loss.step = step
            parts["graph_loss"] = self.graph_loss(embeddings, labels)
        if self.metric_loss is not None:
            parts["metric_loss"] = self.metric_loss(embeddings, labels)
        if "ce_loss" in self.weights:
            parts["ce_loss"] = self.cross_entropy(logits, labels)
        if self.skill is not None:
            weight = self.skill.weight(parts["graph_loss"].detach(), labels)
            self.weights = {"graph_loss": weight, "ce_loss": 1.0 - weight}
        total = torch.stack([weight * parts[name].float() for name, weight in self.weights.items()]).sum()
        if self.ranks is not None:  # engines wait for a gradient of each weight, that of a head without a loss included
            total = total + 0.0 * logits.sum()
        return total, parts

    def cross_entropy(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Of the labelled documents; zero where there is none."""
        if (labels == -100).all():
            return logits.float().sum() * 0.0
        weight = None if self.class_weights is None else self.class_weights.to(logits.device)
        return functional.cross_entropy(logits.float(), labels, weight=weight)

    def graph_share(self, parts: dict[str, Tensor], hidden_states: list[Tensor]) -> Tensor | None:
        """How much of the gradient with respect to the last hidden states comes from the graph, by norm; None where
        there is no such gradient, or nothing beside the graph."""
        if self.graph_loss is None or len(self.weights) < 2:
            return None
        if not all(states.requires_grad for states in hidden_states):
            return None
        norms = {}
        for name, weight in self.weights.items():
            gradients = torch.autograd.grad(parts[name], hidden_states, retain_graph=True, allow_unused=True)
            squares = [gradient.float().square().sum() for gradient in gradients if gradient is not None]
            norms[name] = weight * self._over_ranks(torch.stack(squares).sum()).sqrt() if squares else torch.zeros(())
        return norms["graph_loss"] / (norms["graph_loss"] + norms["ce_loss"])

    def _over_ranks(self, value: Tensor) -> Tensor:
        return value if self.ranks is None else self.ranks.total(value)

    def progress(self) -> dict[str, Any]:
        """What a checkpoint keeps."""
        state = {} if self.graph_loss is None else self.graph_loss.state_dict()
        return {"epoch": self.epoch, "state": state, "skill": None if self.skill is None else self.skill.mean}

    def go_on(self, progress: dict[str, Any]) -> None:
        """Go on from what `progress` gave."""
        self.epoch = progress["epoch"]
        if self.graph_loss is not None:
            self.graph_loss.load_state_dict(progress["state"])
        if self.skill is not None:
            self.skill.mean = progress["skill"]
