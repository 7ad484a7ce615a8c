"""Affinities between documents and the transition matrices made from them.

Everything here works on logarithms of affinities: at small kernel widths every weight of a row can underflow in
float32, while the differences of their logarithms, which is all that a normalized row needs, stay exact.
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor

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
    peak = embeddings.detach().abs().amax(dim=1, keepdim=True)
    present = peak >= torch.finfo(embeddings.dtype).tiny
    scaled = embeddings / torch.where(present, peak, 1.0)
    scaled = torch.where(present, scaled, 0.0)
    length = torch.where(present, torch.linalg.vector_norm(scaled, dim=1, keepdim=True), 1.0)
    return scaled / length


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
    rows, columns = rows - centre, columns - centre
    products = rows @ columns.T
    lengths = rows.square().sum(dim=1, keepdim=True) + columns.square().sum(dim=1)
    return torch.add(lengths, products, alpha=-2.0).clamp_min(0.0)


def log_affinities(
    points: Float[Tensor, "B d"], nodes: Int[Tensor, " n"] | None, bandwidth: float | Float[Tensor, ""]
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
    bandwidth: float | Float[Tensor, ""],
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
