"""The losses on embeddings that the graph loss is measured against; each compares documents in pairs or triplets."""

from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from graphloss.errors import InputError

METRIC_LOSSES = ("scl", "triplet", "cosine")


class MetricLoss(nn.Module):
    """A loss on the embeddings of the labelled documents of a batch.

    Args:
        name: "scl", supervised contrastive: the normalized temperature-scaled softmax over all others of a batch is to
            pick those of the same class. Asks for two documents of a class. Of all losses here the nearest to the
            graph loss, which has the same softmax for its rows but asks what label arrives, over however many steps.
            "triplet", batch-all: in every triplet the one of another class is to be farther away than the one of the
            same class, by a margin of Euclidean distance, not normalized; the mean over triplets that are not.
            "cosine": the squared difference between the cosine of every pair and 1 for the same class, 0 for others.
        temperature: of "scl".
        margin: of "triplet".

    Raises:
        InputError: for "scl" and "triplet" without pytorch-metric-learning.

    Source: Khosla et al. (2020) and Gunel et al. (2021); Hermans et al. (2017); Sharma, Agarwal & Kumar (2025).
    """

    def __init__(self, name: str, *, temperature: float = 0.3, margin: float = 5.0) -> None:
        super().__init__()
        self.loss: Callable[[Tensor, Tensor], Tensor] = _all_pairs
        if name == "scl":
            self.loss = _library().losses.SupConLoss(temperature=temperature)
        elif name == "triplet":
            distance = _library().distances.LpDistance(normalize_embeddings=False)
            self.loss = _library().losses.TripletMarginLoss(margin=margin, distance=distance)

    def forward(self, embeddings: Float[Tensor, "B d"], labels: Int[Tensor, " B"]) -> Float[Tensor, ""]:
        """The loss of a batch, in float32; zero where there is no pair or triplet to compare.

        Args:
            embeddings: (B, d) float.
            labels: (B,) int64; documents labelled -100 are left out.
        """
        known = labels >= 0
        with torch.autocast(embeddings.device.type, enabled=False):
            points = embeddings[known].float()
            if len(points) < 2:
                return points.sum() * 0.0
            return self.loss(points, labels[known])


def _all_pairs(points: Tensor, labels: Tensor) -> Tensor:
    unit = nn.functional.normalize(points)
    first, second = torch.triu_indices(len(points), len(points), 1, device=points.device)
    same = (labels[first] == labels[second]).to(points.dtype)
    return nn.functional.mse_loss((unit @ unit.T)[first, second], same)


def _library() -> Any:
    try:
        import pytorch_metric_learning.distances
        import pytorch_metric_learning.losses
    except ImportError:
        raise InputError(
            "--loss scl and triplet come from pytorch-metric-learning; pip install graphloss[losses]"
        ) from None
    return pytorch_metric_learning
