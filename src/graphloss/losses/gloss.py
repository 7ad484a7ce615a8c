"""G-Loss as a module for any training loop."""

from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from graphloss.graph.affinity import TRANSITIONS
from graphloss.graph.bandwidth import MAX_EXACT, bandwidth_dicm, bandwidth_sqrt
from graphloss.graph.masking import MASKINGS, split_batch
from graphloss.graph.propagation import OBJECTIVES, propagate_with_width, propagation_loss

BANDWIDTHS = ("sqrt", "dicm")


class GLoss(nn.Module):
    """Hide part of the labels of a batch, infer them from its graph, and charge for what is inferred wrong.

    The documents of a batch are the nodes of a complete graph whose edges are Gaussian similarities of their current
    embeddings. A fraction of the labels is hidden, closed-form label propagation infers them from the rest, and the
    loss is how far that is off. It pulls documents of one class together as far as their neighbours need it.

    Args:
        num_labels: C, the number of classes.
        bandwidth: sigma of the Gaussian in the unit of unit-length embeddings, a number above 0; or "sqrt"
            (`graphloss.graph.bandwidth_sqrt`) or "dicm" (`bandwidth_dicm`), computed from each batch anew, without
            gradient.
        transition: "row", "released" or "column"; see `graphloss.graph.transition_rows`.
        labelled_fraction: gamma in [0, 1], the share of the labels that is kept.
        masking: "stratified" or "random"; see `graphloss.graph.split_batch`.
        objective: "nll", "released" or "released-combined"; see `graphloss.graph.propagation_loss`.
        class_weights: (C,) weights of the classes in the mean; None for equal ones.
        teleport: probability in [0, 1] that a step of the walk goes to a labelled document drawn at random. The
            default keeps float32 exact where two masked documents are near-duplicates.
        seed: with the step, the source of the masks.

    Attributes:
        step: the number of training batches seen; the mask is a function of (seed, step), so that a loop that sets it
            (the trainer does) gets the same masks after a resume. Counts up by itself in training mode.
        diagnostics: of the last batch; see there.

    What it asks of the batch: two documents with a label at least, better several of each class. Documents labelled
    -100 are nodes without a label. Documents whose class has no labelled member in the batch are left out and
    counted. Batches that allow nothing to be evaluated cost zero.

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
        class_weights: Tensor | None = None,
        teleport: float = 1e-4,
        seed: int = 0,
    ) -> None:
        super().__init__()
        _check_choice("transition", transition, TRANSITIONS)
        _check_choice("masking", masking, MASKINGS)
        _check_choice("objective", objective, OBJECTIVES)
        _check_fraction("labelled_fraction", labelled_fraction)
        _check_fraction("teleport", teleport)
        if num_labels < 1:
            raise ValueError(f"num_labels must be at least 1, got {num_labels}")
        if class_weights is not None and class_weights.shape != (num_labels,):
            raise ValueError(f"class_weights must have shape ({num_labels},), got {tuple(class_weights.shape)}")
        self.num_labels = num_labels
        self.bandwidth = check_bandwidth(bandwidth)
        self.transition = transition
        self.labelled_fraction = labelled_fraction
        self.masking = masking
        self.objective = objective
        self.teleport = teleport
        self.seed = seed
        self.step = 0
        self.register_buffer("class_weights", class_weights, persistent=False)
        self._last: _Batch | None = None

    def forward(self, embeddings: Float[Tensor, "B d"], labels: Int[Tensor, " B"]) -> Float[Tensor, ""]:
        """The loss of one batch.

        Args:
            embeddings: (B, d) float, any length; they are brought to unit length here.
            labels: (B,) int64 in [0, C); -100 where there is no label.

        Returns:
            A scalar in float32 (float64 for float64 embeddings).

        Raises:
            ValueError: for labels out of range.
        """
        known_labels = self._checked(labels)
        labelled, masked = split_batch(known_labels, self.labelled_fraction, self.masking, self._generator())
        self.step += self.training
        if len(labelled) == 0 or len(masked) == 0:
            loss, sigma = embeddings[:0].float().sum(), float("nan")
        else:
            loss, sigma = self._loss(embeddings, labels, labelled.to(labels.device), masked.to(labels.device))
        self._last = _Batch(loss.detach(), sigma, known_labels, labelled, masked)
        return loss

    @property
    def diagnostics(self) -> dict[str, float]:
        """Of the last batch, worked out when read: graph_loss, bandwidth (NaN where nothing was to infer), and the
        numbers of labelled, masked, evaluated, orphaned (masked, but without a labelled member of their class) and
        unlabelled documents."""
        if self._last is None:
            return {}
        loss, sigma, labels, labelled, masked = self._last
        present = torch.zeros(self.num_labels, dtype=torch.bool)
        present[labels[labelled]] = True
        orphans = int((~present[labels[masked]]).sum())
        return {
            "graph_loss": float(loss),
            "bandwidth": sigma,
            "labelled": len(labelled),
            "masked": len(masked),
            "evaluated": len(masked) - orphans if self.objective == "nll" else len(masked),
            "orphans": orphans,
            "unlabelled": len(labels) - len(labelled) - len(masked),
        }

    def extra_repr(self) -> str:
        return (
            f"num_labels={self.num_labels}, bandwidth={self.bandwidth}, transition={self.transition}, "
            f"labelled_fraction={self.labelled_fraction}, masking={self.masking}, objective={self.objective}"
        )

    def _checked(self, labels: Tensor) -> Tensor:
        labels = labels.cpu()
        values = labels.numpy()
        wrong = values[((values < 0) & (values != -100)) | (values >= self.num_labels)]
        if len(wrong):
            raise ValueError(f"labels must be -100 or lie in [0, {self.num_labels}), found {wrong[0]}")
        return labels

    def _generator(self) -> torch.Generator:
        # One stream a step: a multiplier keeps neighbouring seeds from sharing streams.
        return torch.Generator().manual_seed((self.seed * 1_000_003 + self.step) % 2**63)

    def _loss(self, embeddings: Tensor, labels: Tensor, labelled: Tensor, masked: Tensor) -> tuple[Tensor, float]:
        propagated, sigma = propagate_with_width(
            embeddings,
            labels,
            labelled,
            masked,
            num_labels=self.num_labels,
            bandwidth=self._width(embeddings, labels),
            transition=self.transition,
            teleport=self.teleport,
        )
        truth = labels[masked]
        loss = propagation_loss(propagated, truth, objective=self.objective, class_weights=self.class_weights)
        return loss, sigma

    def _width(self, embeddings: Tensor, labels: Tensor) -> float | None:
        """The width; None where the rule "sqrt" can be applied to the distances that propagation takes anyway."""
        if isinstance(self.bandwidth, float):
            return self.bandwidth
        if self.bandwidth == "dicm":
            return bandwidth_dicm(embeddings, labels)
        return bandwidth_sqrt(embeddings) if len(embeddings) > MAX_EXACT else None


class _Batch(NamedTuple):
    """What the diagnostics of a batch are worked out from."""

    loss: Tensor
    sigma: float
    labels: Tensor
    labelled: Tensor
    masked: Tensor


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


def _check_choice(name: str, value: str, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise ValueError(f"{name} must be one of {', '.join(choices)}, got {value!r}")


def _check_fraction(name: str, value: float) -> None:
    if not 0.0 <= value <= 1.0:
        raise ValueError(f"{name} must lie in [0, 1], got {value}")
