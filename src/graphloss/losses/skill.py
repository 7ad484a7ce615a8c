"""How much a graph knows, and the weight that it gets for it."""

import torch
from jaxtyping import Float, Int
from torch import Tensor

KEPT = 0.9  # of the mean over steps


class Skill:
    """A weight of the graph loss that follows what the graph knows: by how much it tells hidden labels better than the
    shares of the classes do, 1 - L_graph / L_shares, in a running mean that begins at zero. Nothing is read off the
    device.

    A graph of no use, at any time, costs cross-entropy nothing: its weight is zero. Where labels are no matter of
    distance, such as sentiments before training, it is small and grows as training brings classes together.

    Args:
        num_labels: C.
        most: the weight of a graph that knows all.
        class_weights: (C,) those in the graph loss; None for equal ones.

    Attributes:
        mean: the running mean, a scalar from 0 to 1; None before the first batch.
    """

    def __init__(self, num_labels: int, most: float, class_weights: Float[Tensor, " C"] | None = None) -> None:
        self.num_labels = num_labels
        self.most = most
        self.class_weights = class_weights
        self.mean: Tensor | None = None

    def weight(self, graph_loss: Float[Tensor, ""], labels: Int[Tensor, " B"]) -> Float[Tensor, ""]:
        """The weight for a batch, from the batches before it, which this one joins.

        Args:
            graph_loss: of the batch, the mean of -log f[true class] over hidden labels, without gradient; zero where
                there was nothing to infer, which leaves the mean as it is, as a batch of one class does.
            labels: (B,), -100 for none.
        """
        mean = graph_loss.new_zeros(()) if self.mean is None else self.mean.to(graph_loss)
        knows_nothing = self._loss_of_shares(labels).to(graph_loss)
        known = (1.0 - graph_loss / knows_nothing.clamp_min(1e-6)).clamp(0.0, 1.0)
        tells = (graph_loss > 0) & (knows_nothing > 0)
        self.mean = torch.where(tells, KEPT * mean + (1.0 - KEPT) * known, mean)
        return self.most * mean

    def _loss_of_shares(self, labels: Int[Tensor, " B"]) -> Float[Tensor, ""]:
        """What the labels cost him who knows the shares of the classes alone."""
        counts = torch.zeros(self.num_labels + 1, device=labels.device)
        counts.index_add_(0, labels.clamp_min(-1) + 1, torch.ones_like(labels, dtype=counts.dtype))
        shares = counts[1:] / counts[1:].sum().clamp_min(1.0)
        weights = torch.ones_like(shares) if self.class_weights is None else self.class_weights.to(shares)
        return (weights * torch.special.entr(shares)).sum() / (weights * shares).sum().clamp_min(1e-6)
