"""Affinities between documents and the transition matrices made from them.

Everything here works on logarithms of affinities: at small kernel widths every weight of a row can underflow in
float32, while the differences of their logarithms, which is all that a normalized row needs, stay exact.
"""

from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.autograd.function import once_differentiable

TRANSITIONS = ("row", "released", "column")


def unit_rows(embeddings: Float[Tensor, "B d"]) -> Float[Tensor, "B d"]:
    """Bring rows to unit Euclidean length; zero rows stay zero and get no gradient.

    Args:
        embeddings: (B, d) float. Rows are scaled by their largest entry first, so that neither very short nor very
            long rows under- or overflow when squared. A row whose largest entry is below the smallest normal number
            of its dtype counts as zero.

    Returns:
        (B, d), same dtype.

    Source: Sharma, Agarwal & Kumar (2025), the normalization before the graph is built.
    """
    return _UnitRows.apply(embeddings)


def scale_to_unit(embeddings: Float[Tensor, "B d"]) -> tuple[Float[Tensor, "B d"], Float[Tensor, "B 1"]]:
    """Rows of unit length and the inverse of the lengths they had (0 for zero rows), without gradient."""
    peak = embeddings.abs().amax(dim=1, keepdim=True)  # far faster than the infinity norm
    inverse_peak = torch.where(peak >= torch.finfo(embeddings.dtype).tiny, peak.reciprocal(), 0.0)
    rows = embeddings * inverse_peak
    length = torch.linalg.vector_norm(rows, dim=1, keepdim=True).clamp_min_(0.5)  # at least 1, but for zero rows
    return rows.div_(length), inverse_peak.div_(length)


def unit_gradient(
    rows: Float[Tensor, "B d"], inverse_length: Float[Tensor, "B 1"], gradient: Float[Tensor, "B d"]
) -> Float[Tensor, "B d"]:
    """The gradient with respect to embeddings, given the one with respect to their unit rows."""
    along = torch.linalg.vecdot(rows, gradient)[:, None]
    return torch.addcmul(gradient, rows, along, value=-1.0).mul_(inverse_length)


class _UnitRows(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, embeddings: Tensor) -> Tensor:
        rows, inverse_length = scale_to_unit(embeddings)
        ctx.save_for_backward(rows, inverse_length)
        return rows

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        rows, inverse_length = ctx.saved_tensors
        return unit_gradient(rows, inverse_length, gradients[0])


def squared_distances(rows: Float[Tensor, "n d"], columns: Float[Tensor, "m d"]) -> Float[Tensor, "n m"]:
    """Squared Euclidean distances between two sets of points.

    The points are centred before the products are taken and the result is clamped at zero: squaring `torch.cdist`
    loses half of the digits on tight clusters and has a bad gradient at duplicates.

    Args:
        rows: (n, d) float.
        columns: (m, d) float, same dtype.

    Returns:
        (n, m), not negative.
    """
    centre = columns.detach().mean(dim=0)
    same = rows is columns
    columns = columns - centre
    rows = columns if same else rows - centre
    column_lengths = torch.linalg.vecdot(columns, columns)
    row_lengths = column_lengths if same else torch.linalg.vecdot(rows, rows)
    distances = torch.addmm(column_lengths, rows, columns.mT, alpha=-2.0).add_(row_lengths[:, None])
    return distances.clamp_min(0.0)


def log_affinities(
    points: Float[Tensor, "B d"], nodes: Int[Tensor, " n"] | None, bandwidth: float
) -> Float[Tensor, "n B"]:
    """Logarithms of the Gaussian weights w_ij = exp(-|x_i - x_j|^2 / (2 sigma^2)), w_ii = 0.

    Args:
        points: (B, d) float, one point a document.
        nodes: (n,) int64, the rows wanted; None for all.
        bandwidth: sigma > 0, in the unit of the points.

    Returns:
        (n, B); -inf where a document meets itself.

    Source: Sharma, Agarwal & Kumar (2025), the affinity of the complete graph.
    """
    rows = points if nodes is None else points[nodes]
    own = torch.arange(len(points), device=points.device) if nodes is None else nodes
    logs = squared_distances(rows, points) * (-0.5 / bandwidth**2)
    return logs.scatter(1, own[:, None], -torch.inf)


def transition_rows(
    points: Float[Tensor, "B d"],
    nodes: Int[Tensor, " n"],
    bandwidth: float,
    transition: str = "row",
) -> Float[Tensor, "n B"]:
    """Rows of the transition matrix T of the graph on `points`.

    - "row": T = D^-1 W, row-stochastic. Of unit points this is attention with temperature sigma^2.
    - "column": T_ij = A_ij / sum_m A_mj with A = D^-1/2 W D^-1/2, column-stochastic, as the paper prints it.
    - "released": the columns of A are normalized and then the rows, as the paper's code does it; row-stochastic.

    Only "row" gets by with the n rows asked for; the other two need all affinities.

    Args:
        points: (B, d) float, B >= 2.
        nodes: (n,) int64, the rows wanted.
        bandwidth: sigma > 0.
        transition: one of `TRANSITIONS`.

    Returns:
        (n, B), not negative, zero where a document meets itself.

    Raises:
        ValueError: for an unknown transition.

    Source: Sharma, Agarwal & Kumar (2025); Zhu & Ghahramani (2002) for the row normalization.
    """
    if transition == "row":
        return torch.softmax(log_affinities(points, nodes, bandwidth), dim=1)
    if transition not in TRANSITIONS:
        raise ValueError(f"transition must be one of {', '.join(TRANSITIONS)}, got {transition!r}")
    log_weights = log_affinities(points, None, bandwidth)
    half_degrees = 0.5 * torch.logsumexp(log_weights, dim=1)
    log_symmetric = log_weights - half_degrees[:, None] - half_degrees
    column_normalized = (log_symmetric - torch.logsumexp(log_symmetric, dim=0))[nodes]
    return column_normalized.exp() if transition == "column" else torch.softmax(column_normalized, dim=1)
