"""G-Loss as a module for any training loop."""

import math
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from graphloss.graph.affinity import TRANSITIONS, at_least_float32, check_finite, scale_to_unit, shared
from graphloss.graph.attention import SOLVERS
from graphloss.graph.bandwidth import MAX_EXACT, bandwidth_dicm, bandwidth_loo, bandwidth_sqrt, local_widths
from graphloss.graph.masking import MASKINGS, Split, number_of_folds, split_batch
from graphloss.graph.memory import Memory
from graphloss.graph.objectives import HONEST, OBJECTIVES, propagation_loss
from graphloss.graph.propagation import check_distributions, evaluated_first, infer, with_class_mass
from graphloss.graph.questions import Classes, Members
from graphloss.graph.sharing import Ranks
from graphloss.losses.diagnostics import Batch, diagnose

BANDWIDTHS = ("sqrt", "dicm", "loo", "local", "learned")
TARGETS = ("class", "distribution")
UNLABELLED = -100
WIDEST = math.log(1e4)  # beyond, and below its inverse, no width is learned any further
FIRST_WIDTH = (math.sqrt(2.0) / 3.0) ** 0.5  # what the rule "sqrt" gives for directions at random


class GLoss(nn.Module):
    """Hide part of the labels of a batch, infer them from its graph, and charge for what is inferred wrong.

    The documents of a batch are the nodes of a complete graph whose edges are Gaussian similarities of their current
    embeddings. A fraction of the labels is hidden, closed-form label propagation infers them from the rest, and the
    loss is how far that is off. It pulls documents of one class together as far as their neighbours need it.

    Args:
        num_labels: C, the number of classes.
        bandwidth: sigma of the Gaussian in the unit of unit-length embeddings, a number above 0; or a rule, computed
            from each batch anew and without gradient: "sqrt" (`graphloss.graph.bandwidth_sqrt`), "dicm"
            (`bandwidth_dicm`), "loo" (`bandwidth_loo`), "local" (`local_widths`, a width of each document); or
            "learned", a parameter: hand `parameters()` to the optimizer, in a group with a learning rate of its own,
            for its unit is the logarithm of sigma and 0.01 is a fair one.
        transition: "row", "released" or "column"; see `graphloss.graph.transition_rows`.
        labelled_fraction: gamma in [0, 1], the share of the labels that is kept.
        masking: "stratified", "random" or "folds"; see `graphloss.graph.split_batch`.
        objective: "nll", "members", "released" or "released-combined"; see `graphloss.graph.propagation_loss`.
        targets: "class", labels are numbers of classes; "distribution", they are rows of shares of the classes.
        class_weights: (C,) weights of the classes in the mean; None for equal ones.
        memory_size: M, the number of labelled embeddings of earlier batches that are further labelled nodes; 0 for
            none. They take no gradient. They are part of `state_dict`.
        memory_age: steps after which they are dropped.
        class_mass: where the batch holds documents without a label, let what is inferred for all nodes have the class
            shares of the labelled ones; see `graphloss.graph.propagate`. In a dense graph of many such documents the
            largest class would win everywhere.
        teleport: probability in [0, 1] that a step of the walk goes to a labelled document drawn at random. The
            default keeps float32 exact where two masked documents are near-duplicates.
        solver: "auto", "direct" or "matrix-free"; see `graphloss.graph.propagate`.
        seed: with the step, the source of the masks.
        ranks: processes that share the rows of the graph, each of which is given the same embeddings and labels: those
            of all, gathered; None for one process.

    Attributes:
        step: the number of training batches seen, counted in training mode. The mask is a function of (seed, step); a
            loop that sets it, or restores `state_dict`, gets the same masks after a resume.
        diagnostics: of the last batch; see there.

    Raises:
        ValueError: from the constructor, for settings that are out of range or make no sense together: a memory holds
            labelled nodes alone, while "released" and "column" need the affinities between all nodes and "local" the
            neighbours of each.

    What it asks of the batch: two documents with a label at least, better several of each class. Documents without a
    label are nodes that hand labels on. Documents whose class has no labelled member are left out and counted. Batches
    that allow nothing to be evaluated cost zero. A memory should be emptied (`forget`) when an epoch ends, lest a
    document meets its own label in it.

    Relation to others: cross-entropy sees documents one by one, triplet and supervised contrastive losses see pairs;
    this sees paths. As sigma goes to zero it becomes a nearest-neighbour loss.

    Example:
        >>> loss = GLoss(num_labels=2)
        >>> embeddings = torch.randn(8, 16, requires_grad=True)
        >>> loss(embeddings, torch.tensor([0, 1] * 4)).backward()

    Source: Sharma, Agarwal & Kumar (2025), "G-Loss: Graph-Guided Fine-Tuning of Language Models".
    """

    class_weights: Tensor | None

    def __init__(
        self,
        num_labels: int,
        *,
        bandwidth: float | str = "sqrt",
        transition: str = "row",
        labelled_fraction: float = 0.7,
        masking: str = "stratified",
        objective: str = "nll",
        targets: str = "class",
        class_weights: Tensor | None = None,
        memory_size: int = 0,
        memory_age: int = 100,
        class_mass: bool = False,
        teleport: float = 1e-4,
        solver: str = "auto",
        seed: int = 0,
        ranks: Ranks | None = None,
    ) -> None:
        super().__init__()
        self.num_labels = num_labels
        self.bandwidth = check_bandwidth(bandwidth)
        self.transition = transition
        self.labelled_fraction = labelled_fraction
        self.masking = masking
        self.objective = objective
        self.targets = targets
        self.memory_size = memory_size
        self.memory_age = memory_age
        self.class_mass = class_mass
        self.teleport = teleport
        self.solver = solver
        self.seed = seed
        self.ranks = ranks
        self._check_settings(class_weights)
        self.register_buffer("class_weights", class_weights, persistent=False)
        self.log_bandwidth = nn.Parameter(torch.tensor(math.log(FIRST_WIDTH))) if bandwidth == "learned" else None
        self.memory = Memory(memory_size, memory_age) if memory_size else None
        self._progress = _Progress()

    @torch.compiler.disable
    def forward(
        self, embeddings: Float[Tensor, "B d"], labels: Int[Tensor, " B"] | Float[Tensor, "B C"]
    ) -> Float[Tensor, ""]:
        """The loss of one batch.

        Args:
            embeddings: (B, d) float, any length; they are brought to unit length here.
            labels: (B,) int64 in [0, C), -100 where there is no label; with targets="distribution" (B, C) float, a row
                of NaN where there is none.

        Returns:
            A scalar in float32 (float64 for float64 embeddings).

        Raises:
            ValueError: for labels out of range and embeddings that are not finite.
        """
        classes = self._classes(labels)
        memory = self._remembered()
        splits = [
            (labelled.to(labels.device), masked.to(labels.device))
            for labelled, masked in split_batch(classes, self.labelled_fraction, self.masking, self._generator())
            if masked.shape[0] and (labelled.shape[0] or memory is not None)
        ]
        report: dict[str, Any] = {"bandwidth": math.nan}
        if splits:
            try:
                loss = self._loss(embeddings, labels, splits, memory, report)
            except ValueError:
                check_finite(embeddings)  # counts all rows, where a sample of them was refused
                raise
        else:
            check_finite(embeddings)
            loss = at_least_float32(embeddings[:0]).sum()
        progress = self._progress
        progress.last = Batch(loss.detach(), embeddings.detach(), classes, splits, memory, report)
        if self.training:
            progress.pending = None if self.memory is None else (embeddings.detach(), labels, progress.step)
            progress.step += 1
        return loss

    @property
    def step(self) -> int:
        """The number of training batches seen."""
        return self._progress.step

    @step.setter
    def step(self, step: int) -> None:
        self._progress.step = step

    def forget(self) -> None:
        """Empty the memory."""
        self._progress.pending = None
        if self.memory is not None:
            self.memory.clear()

    @property
    def diagnostics(self) -> dict[str, float]:
        """Of the last batch, worked out when read and not before.

        - graph_loss;
        - bandwidth: sigma; the geometric mean of the local ones; NaN where nothing was to infer;
        - graph_size: documents of the batch, of all processes together;
        - labelled, masked, unlabelled: numbers of documents, with "folds" of one of them on average;
        - evaluated, orphans: of the masked ones, those that enter the mean and those without a labelled member of their
          class, which with "nll" and "members" do not; of a distribution, the most likely class counts;
        - memory: labelled nodes of earlier batches;
        - effective_neighbours: the perplexity of the transition's rows, mean over at most 256 masked documents: over
          how many others the first step of their walks is spread;
        - saturated: entries of the gradient that exceeded its type, after a backward pass.
        """
        if self._progress.last is None:
            return {}
        return diagnose(self._progress.last, transition=self.transition, leaves_orphans=self.objective in HONEST)

    def get_extra_state(self) -> dict[str, Any]:
        """The step and the memory, for `state_dict`; in types that load with weights_only."""
        self._remembered()
        return {"step": self.step, "memory": None if self.memory is None else self.memory.state()}

    def set_extra_state(self, state: dict[str, Any]) -> None:
        """Take over the step and the memory of a `state_dict`."""
        self.step = state["step"]
        self._progress.pending = None
        if self.memory is not None and state["memory"] is not None:
            self.memory.restore(state["memory"])

    def extra_repr(self) -> str:
        names = ("num_labels", "bandwidth", "transition", "labelled_fraction", "masking", "objective", "memory_size")
        return ", ".join(f"{name}={getattr(self, name)}" for name in names)

    def _check_settings(self, class_weights: Tensor | None) -> None:
        for name, choices in (
            ("transition", TRANSITIONS),
            ("masking", MASKINGS),
            ("objective", OBJECTIVES),
            ("targets", TARGETS),
            ("solver", SOLVERS),
        ):
            if getattr(self, name) not in choices:
                raise ValueError(f"{name} must be one of {', '.join(choices)}, got {getattr(self, name)!r}")
        for name in ("labelled_fraction", "teleport"):
            if not 0.0 <= getattr(self, name) <= 1.0:
                raise ValueError(f"{name} must lie in [0, 1], got {getattr(self, name)}")
        for name, least in (("num_labels", 1), ("memory_size", 0), ("memory_age", 1)):
            if getattr(self, name) < least:
                raise ValueError(f"{name} must be at least {least}, got {getattr(self, name)}")
        if self.masking == "folds":
            number_of_folds(self.labelled_fraction)
        if class_weights is not None and class_weights.shape != (self.num_labels,):
            raise ValueError(f"class_weights must have shape ({self.num_labels},), got {tuple(class_weights.shape)}")
        if self.memory_size and self.transition != "row":
            raise ValueError(
                f"memory_size {self.memory_size} needs transition 'row', got {self.transition!r}, which normalizes by "
                "the affinities between all nodes, and a memory has none of its own"
            )
        if self.memory_size and self.bandwidth == "local":
            raise ValueError(
                f"memory_size {self.memory_size} and bandwidth 'local' exclude each other: a memory has no neighbours"
            )
        if self.solver == "matrix-free" and self.transition != "row":
            raise ValueError(f"solver 'matrix-free' needs transition 'row', got {self.transition!r}")

    def _classes(self, labels: Tensor) -> Int[Tensor, " B"]:
        """The classes on the CPU, -100 where there is no label; of a distribution, the most likely one."""
        if self.targets == "distribution":
            known = ~labels.isnan().all(dim=1) if labels.ndim == 2 else None
            if known is None or not labels.is_floating_point():
                raise ValueError(
                    f"targets='distribution' needs labels of shape (B, {self.num_labels}) in floating point, got "
                    f"{tuple(labels.shape)} in {labels.dtype}"
                )
            check_distributions(labels[known], self.num_labels)
            return torch.where(known, labels.nan_to_num().argmax(dim=1), UNLABELLED).cpu()
        classes = labels.cpu()
        values = classes.numpy()
        wrong = values[((values < 0) & (values != UNLABELLED)) | (values >= self.num_labels)]
        if len(wrong):
            raise ValueError(f"labels must be {UNLABELLED} or lie in [0, {self.num_labels}), found {wrong[0]}")
        return classes

    def _generator(self) -> torch.Generator:
        # One stream a step: a multiplier keeps neighbouring seeds from sharing streams.
        return torch.Generator().manual_seed((self.seed * 1_000_003 + self.step) % 2**63)

    def _remembered(self) -> tuple[Tensor, Tensor] | None:
        """What the memory holds for this step, the batch before this one included."""
        if self.memory is None:
            return None
        if self._progress.pending is not None:
            embeddings, labels, step = self._progress.pending
            known = ~labels.isnan().any(dim=1) if labels.ndim == 2 else labels != UNLABELLED
            points = scale_to_unit(embeddings[known])
            self.memory.add(points, labels[known], step)
            self._progress.pending = None
        return self.memory.recent(self.step)

    def _loss(
        self,
        embeddings: Tensor,
        labels: Tensor,
        splits: list[Split],
        memory: tuple[Tensor, Tensor] | None,
        report: dict[str, Any],
    ) -> Tensor:
        width = self._width(embeddings, labels, alone=memory is None and len(splits) == 1)
        if len(splits) > 1:
            embeddings = shared(embeddings, report.setdefault("saturated", {}))
        classes = Classes(labels, self.num_labels, self.class_weights, memory)
        all_members = self.objective == "members"
        asked = Members(classes, at_least_float32(embeddings[:0]).dtype) if all_members else classes
        inferred, answers = [], []
        for labelled, masked in splits:
            nodes = evaluated_first(embeddings.shape[0], labelled, masked)
            solution = infer(
                embeddings,
                asked.labels,
                labelled,
                nodes,
                num_labels=asked.num_labels,
                bandwidth=width,
                transition=self.transition,
                teleport=self.teleport,
                memory=asked.memory,
                solver=self.solver,
                report=report,
                ranks=self.ranks,
            )
            if self.class_mass and nodes is not masked:
                solution = with_class_mass(solution, self._class_shares(asked.labels[labelled]).to(solution))
            inferred.append(solution if nodes is masked else solution[: masked.shape[0]])
            answers.append(asked.answer(labelled, masked))
        propagated, answer = (parts[0] if len(parts) == 1 else torch.cat(parts) for parts in (inferred, answers))
        return propagation_loss(propagated, answer, objective=self.objective, class_weights=asked.class_weights)

    def _class_shares(self, labels: Tensor) -> Float[Tensor, " C"]:
        if labels.ndim == 2:
            return labels.mean(dim=0)
        return torch.bincount(labels, minlength=self.num_labels) / max(len(labels), 1)

    def _width(self, embeddings: Tensor, labels: Tensor, alone: bool) -> float | Tensor | None:
        """The width; None where the rule "sqrt" can be applied to the distances that one propagation takes anyway."""
        if isinstance(self.bandwidth, float):
            return self.bandwidth
        if self.log_bandwidth is not None:
            log_width = self.log_bandwidth if self.ranks is None else self.ranks.with_mean_gradient(self.log_bandwidth)
            return log_width.clamp(-WIDEST, WIDEST).exp()
        if self.bandwidth == "local":
            return local_widths(embeddings)
        if self.bandwidth == "sqrt":
            return None if alone and embeddings.shape[0] <= MAX_EXACT else bandwidth_sqrt(embeddings)
        classes = self._classes(labels).to(embeddings.device)
        return (bandwidth_dicm if self.bandwidth == "dicm" else bandwidth_loo)(embeddings, classes)


@dataclass
class _Progress:
    """What changes from batch to batch; on its own, because setting attributes of a module is slow.

    Attributes:
        step: training batches seen.
        pending: embeddings and labels of the last batch and its step, not yet in the memory.
        last: for the diagnostics.
    """

    step: int = 0
    pending: tuple[Tensor, Tensor, int] | None = None
    last: Batch | None = None


def check_bandwidth(bandwidth: float | str) -> float | str:
    """A kernel width as a number, or the name of a rule.

    Raises:
        ValueError: for an unknown rule and for a number that is not positive and finite.
    """
    if bandwidth in BANDWIDTHS:
        return bandwidth
    try:
        width = float(bandwidth)
    except ValueError:
        width = float("nan")
    if not 0.0 < width < float("inf"):
        raise ValueError(
            f"bandwidth must be a positive finite number or one of {', '.join(BANDWIDTHS)}, got {bandwidth}"
        )
    return width
