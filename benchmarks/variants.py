"""Ideas beside the settings of the package, each against the same training without it, on development sets.

Run `python benchmarks/development.py` once, then `python benchmarks/variants.py`; hours, of one core. Several processes
may share the work: finished runs under runs/variants are not done again, and one that another process is at is left to
it. With 16 labels a class and with 2,000 documents, two seeds each, cross-entropy and G-Loss are trained as they are,
and with one idea each; what is said of an idea is the mean difference to the same loss without it. No document of a
benchmark's test split is read. Writes results/variants.json from the runs that are there.
"""

import copy
import hashlib
import json
import shutil
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from report import arguments, conclude, progress
from torch import Tensor, nn
from torch.nn import functional
from transformers import TrainerCallback

from graphloss.cli.output import quiet_libraries
from graphloss.evaluation.metrics import classification_metrics, softmax
from graphloss.experiments.cells import right_of
from graphloss.experiments.lease import lease
from graphloss.graph import bandwidth_loo, propagate, split_batch
from graphloss.models.pooling import pool
from graphloss.run import RunConfig, encoder_run, run_training
from graphloss.training.run_directory import RunDirectory
from graphloss.training.trainer import GraphLossTrainer

FOLDER = Path("runs/variants")
SEEDS = (1, 2)
USUAL = {
    "encoder": "minilm",
    "head": "linear",
    "max_length": 64,
    "learning_rate": 1e-4,
    "patience": 0,
    "floor": False,
    "record": False,
    "index": False,
}
REGIMES: dict[str, dict[str, Any]] = {
    "few": {"labels_per_class": 16, "max_steps": 40, "eval_strategy": "no", "save_strategy": "no"},
    "many": {"num_train_epochs": 3},
}
DATA = {"few": ("mr", "r8", "ohsumed"), "many": ("mr", "ohsumed")}


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


class LayerwiseRates(GraphLossTrainer):
    """The rate of each layer a fraction of that of the layer above (Howard & Ruder, 2018)."""

    DECAY = 0.75

    def create_optimizer(self, model: nn.Module | None = None) -> torch.optim.Optimizer:
        """As in the trainer, with more groups."""
        optimizer = super().create_optimizer(model)
        layers = self.classifier.config.num_hidden_layers
        depth = {
            parameter: 0 if "embeddings" in name else int(name.partition("layer.")[2].split(".")[0]) + 1
            for name, parameter in self.classifier.named_parameters()
            if "embeddings" in name or ".layer." in name
        }
        groups = [*optimizer.param_groups]
        optimizer.param_groups.clear()
        for group in groups:
            for level in range(layers + 2):
                parts = [each for each in group["params"] if depth.get(each, layers + 1) == level]
                if parts:
                    rate = group["lr"] * self.DECAY ** (layers + 1 - level)
                    optimizer.add_param_group({**group, "params": parts, "lr": rate})
        return optimizer


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


class Distilled(GraphLossTrainer):
    """The head also learns what the graph of the batch says of the documents whose label is hidden from it."""

    SHARE = 0.3  # of the whole loss

    def _forward(self, model: nn.Module, inputs: dict[str, Tensor]) -> tuple[Tensor, Tensor, list[Tensor]]:
        self.passed = super()._forward(model, inputs)
        return self.passed

    def compute_loss(self, model: nn.Module, inputs: dict[str, Tensor], *others: Any, **named: Any) -> Any:
        """As in the trainer, with what the class says."""
        loss = super().compute_loss(model, inputs, *others, **named)
        if not model.training:
            return loss
        logits, embeddings, _ = self.passed
        generator = torch.Generator().manual_seed(self.state.global_step)
        soft = []
        for labelled, masked in split_batch(inputs["labels"], 0.7, "folds", generator):
            said = propagate(
                embeddings.detach(),
                inputs["labels"],
                labelled,
                masked,
                num_labels=self.num_labels,
                bandwidth=bandwidth_loo(embeddings.detach().float(), inputs["labels"]),
            )
            soft.append(functional.cross_entropy(logits[masked].float(), said))
        return (1.0 - self.SHARE) * loss + self.SHARE * torch.stack(soft).mean()


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
                tokens = {name: tensor for name, tensor in inputs.items() if name != "labels"}
                states = self.teacher.base_model(**tokens)[0]
                said = pool(states, inputs["attention_mask"], self.pooling).float()
            graph_loss._progress.pending = (said, inputs["labels"], graph_loss.step - 1)
        return loss


IDEAS: dict[str, tuple[type[GraphLossTrainer], dict[str, Any], tuple[str, ...]]] = {
    "as it is": (GraphLossTrainer, {}, ("ce", "gloss")),
    "weights interpolated with those before": (Interpolated, {}, ("ce", "gloss")),
    "mean of the weights of the second half": (Averaged, {}, ("ce", "gloss")),
    "rates falling by layer, 0.75": (LayerwiseRates, {}, ("ce", "gloss")),
    "two views of each document": (TwoViews, {}, ("ce", "gloss")),
    "consistent passes": (Consistent, {}, ("ce", "gloss")),
    "graph gives way to cross-entropy": (Agreeing, {"graph_weight": 0.5}, ("gloss",)),
    "lambda 0.5": (GraphLossTrainer, {"graph_weight": 0.5}, ("gloss",)),
    "propagated labels taught to the head": (Distilled, {}, ("ce", "gloss")),
    "memory of 1,024": (GraphLossTrainer, {"memory_size": 1024}, ("gloss",)),
    "memory of 1,024 by a slow teacher": (Taught, {"memory_size": 1024}, ("gloss",)),
}


def ideas_of(regime: str) -> list[tuple[str, str]]:
    """The ideas and the losses that they are tried with; few documents are one batch, which needs no memory."""
    return [
        (idea, loss)
        for idea, (_, settings, losses) in IDEAS.items()
        for loss in losses
        if regime == "many" or "memory_size" not in settings
    ]


def runs() -> list[dict[str, Any]]:
    """What is to be trained, in an order in which all ideas are seen early."""
    return [
        {"regime": regime, "data": data, "seed": seed, "loss": loss, "idea": idea}
        for regime in REGIMES
        for seed in SEEDS
        for data in DATA[regime]
        for idea, loss in ideas_of(regime)
    ]


def settings_of(run: dict[str, Any]) -> dict[str, Any]:
    own = {"data": f"runs/development/{run['data']}", "loss": run["loss"], "seed": run["seed"]}
    return {**USUAL, **REGIMES[run["regime"]], **IDEAS[run["idea"]][1], **own}


def path_of(run: dict[str, Any]) -> Path:
    """Of the run directory; another idea or another setting has another."""
    digest = hashlib.sha256(json.dumps([run["idea"], settings_of(run)]).encode()).hexdigest()
    return FOLDER / f"{run['regime']}-{run['data']}-{run['loss']}-{run['seed']}-{digest[:6]}"


def train(run: dict[str, Any]) -> None:
    path = path_of(run)
    with patch.object(encoder_run, "GraphLossTrainer", IDEAS[run["idea"]][0]):
        run_training(RunConfig.of(settings_of(run) | {"output_dir": str(path)}), overwrite=True)
    shutil.rmtree(RunDirectory(path).model)


def gain(differences: dict[str, np.ndarray]) -> dict[str, float]:
    """The mean over data sets of a difference in accuracy, (S, n) each, with a 95 % interval over seeds and documents,
    all in points."""
    generator = np.random.default_rng(0)
    means = []
    for _ in range(2_000):
        drawn = []
        for each in differences.values():
            seeds, documents = each.shape
            counts = np.bincount(generator.integers(0, documents, documents), minlength=documents)
            drawn.append((each[generator.integers(0, seeds, seeds)] @ counts).mean() / documents)
        means.append(np.mean(drawn))
    low, high = np.quantile(means, (0.025, 0.975))
    found = {"mean": np.mean([each.mean() for each in differences.values()]), "from": low, "to": high}
    by_set = {data: each.mean() for data, each in differences.items()}
    return {name: round(100.0 * float(value), 2) for name, value in (found | by_set).items()}


def compared(regime: str, loss: str, idea: str) -> dict[str, Any]:
    """Accuracy with an idea by data set, and the gain over the same loss as it is, of the seeds that are done."""
    seeds = [seed for seed in SEEDS if is_done(regime, loss, idea, seed) and is_done(regime, loss, "as it is", seed)]
    row = {"regime": regime, "loss": loss, "idea": idea, "seeds": len(seeds)}
    if not seeds:
        return row
    own, usual = (
        {data: np.stack([right(regime, data, loss, name, seed) for seed in seeds]) for data in DATA[regime]}
        for name in (idea, "as it is")
    )
    accuracy = {data: round(float(100.0 * each.mean()), 2) for data, each in own.items()}
    return row | {"accuracy": accuracy, "gain": gain({data: own[data] - usual[data] for data in own})}


def is_done(regime: str, loss: str, idea: str, seed: int) -> bool:
    wanted = {"regime": regime, "loss": loss, "idea": idea, "seed": seed}
    return all(RunDirectory(path_of(wanted | {"data": data})).metrics.exists() for data in DATA[regime])


def right(regime: str, data: str, loss: str, idea: str, seed: int) -> np.ndarray:
    """(n,) 1 where a run was right about a document, else 0."""
    run = {"regime": regime, "data": data, "loss": loss, "idea": idea, "seed": seed}
    return right_of(path_of(run)).astype(float)


def main() -> None:
    parser = arguments(__doc__ or "")
    options = parser.parse_args()
    quiet_libraries()
    for run in runs():
        directory = RunDirectory(path_of(run))
        with lease(FOLDER / "leases" / directory.path.name) as held:
            if held and not directory.metrics.exists():
                train(run)
                accuracy = json.loads(directory.metrics.read_text())["test"]["accuracy"]
                progress(f"{run}: {100 * accuracy:.2f}")
    rows = [compared(regime, loss, idea) for regime in REGIMES for idea, loss in ideas_of(regime)]
    for row in rows:
        print(row)
    conclude("variants", {"rows": rows}, [], options)


if __name__ == "__main__":
    main()
