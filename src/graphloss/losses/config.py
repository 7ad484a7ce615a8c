"""The settings of the losses."""

from dataclasses import dataclass, fields
from typing import Any

from graphloss.errors import InputError
from graphloss.graph.affinity import TRANSITIONS
from graphloss.graph.attention import SOLVERS
from graphloss.graph.masking import MASKINGS
from graphloss.graph.objectives import HONEST, OBJECTIVES
from graphloss.losses.gloss import GLoss, check_bandwidth
from graphloss.options import option

WEIGHTINGS = ("constant", "skill")


@dataclass
class GLossConfig:
    """The graph loss and its weight."""

    graph_weight: float = option(
        0.7,
        "Lambda in L = lambda L_graph + (1 - lambda) L_CE, from 0 to 1. With objective nll and a head from random "
        "weights 0.7 starves the classifier: take 0.3 then.",
    )
    graph_weighting: str = option(
        "constant",
        "constant: lambda is graph_weight; skill: that times what the graph knows of hidden labels beyond the shares "
        "of the classes, so that a graph that knows nothing has no weight.",
        WEIGHTINGS,
    )
    bandwidth: str = option(
        "0.35",
        "Width of the Gaussian affinity: a number above 0; a rule applied to each batch (sqrt, dicm, loo, or local for "
        "a width of each document); or learned.",
    )
    bandwidth_learning_rate: float = option(0.01, "Learning rate of a learned width, in its logarithm.")
    transition: str = option(
        "row",
        "Normalization of the graph: row, released (the paper's code) or column (the paper).",
        TRANSITIONS,
    )
    labelled_fraction: float = option(0.7, "Gamma, the share of the labels of a batch that is kept, from 0 to 1.")
    masking: str = option(
        "folds",
        "Which labels are hidden: folds hides each once in a step, stratified some but keeps one of each class, random "
        "is the paper's.",
        MASKINGS,
    )
    objective: str = option(
        "members",
        "Loss on the propagated labels: members, that all labelled members of the class are reached alike; nll, the "
        "paper's, that the class is right; or what the paper's code does alone (released) or with cross-entropy "
        "(released-combined).",
        OBJECTIVES,
    )
    teleport: float = option(
        1e-4,
        "Probability that a step of the walk goes to a random labelled document; keeps float32 exact at duplicates.",
    )
    memory_size: int = option(
        0, "Labelled documents of the last batches that stay in the graph; 0 for none. Emptied after each epoch."
    )
    memory_age: int = option(100, "Steps after which they leave it.")
    unlabelled_share: float = option(
        0.0,
        "Share of a batch that is filled with unlabelled documents, where there are some; an epoch counts the others. "
        "At 0 they serve predictions with the graph alone: in batches they helped on some data and cost on other.",
    )
    unlabelled_ramp_up: float = option(0.3, "Share of the steps over which it grows from nothing.")
    class_mass: bool = option(
        True,
        "Where a batch holds unlabelled documents, let what is inferred have the class shares of the labelled ones: "
        "many nodes without a label would else all get the largest class.",
    )
    solver: str = option(
        "auto", "Solution of the graph: direct, matrix-free (memory linear in the batch), or the faster.", SOLVERS
    )

    def __post_init__(self) -> None:
        if not 0.0 <= self.graph_weight <= 1.0:
            raise InputError(f"graph_weight must lie in [0, 1], got {self.graph_weight}")
        if self.graph_weighting not in WEIGHTINGS:
            raise InputError(f"graph_weighting must be one of {', '.join(WEIGHTINGS)}, got {self.graph_weighting!r}")
        if self.graph_weighting == "skill" and self.objective not in HONEST:
            raise InputError(f"graph_weighting skill needs objective nll or members, got {self.objective}")
        for name in ("unlabelled_share", "unlabelled_ramp_up"):
            if not 0.0 <= getattr(self, name) < 1.0:
                raise InputError(f"{name} must lie in [0, 1), got {getattr(self, name)}")
        if not 0.0 <= self.bandwidth_learning_rate < float("inf"):
            raise InputError(f"bandwidth_learning_rate must not be negative, got {self.bandwidth_learning_rate}")
        try:
            check_bandwidth(self.bandwidth)
            self.build(num_labels=2)
        except ValueError as error:
            raise InputError(str(error)) from None

    def build(self, num_labels: int, **more: Any) -> GLoss:
        """The loss that these settings describe; `more` is what `GLoss` takes beside them."""
        of_trainer = {"graph_weight", "graph_weighting", "bandwidth_learning_rate"}
        of_batches = {"unlabelled_share", "unlabelled_ramp_up"}
        settings = {f.name: getattr(self, f.name) for f in fields(self) if f.name not in of_trainer | of_batches}
        return GLoss(num_labels, **settings, **more)


@dataclass
class MetricConfig:
    """The losses on embeddings that the graph loss is measured against."""

    metric_weight: float = option(
        0.9, "Weight of scl, triplet or cosine in the sum with cross-entropy, from 0 to 1; the paper's for scl."
    )
    temperature: float = option(0.3, "Temperature of scl; the paper searches from 0.01 to 1.")
    margin: float = option(5.0, "Margin of triplet, in Euclidean distance; the paper's.")

    def __post_init__(self) -> None:
        if not 0.0 <= self.metric_weight <= 1.0:
            raise InputError(f"metric_weight must lie in [0, 1], got {self.metric_weight}")
        for name in ("temperature", "margin"):
            if not 0.0 < getattr(self, name) < float("inf"):
                raise InputError(f"{name} must be above 0, got {getattr(self, name)}")
