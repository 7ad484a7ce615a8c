"""Affinities between documents and the transition matrices made from them.

Everything here works on logarithms of affinities: at small kernel widths every weight of a row can underflow in
float32, while the differences of their logarithms, which is all that a normalized row needs, stay exact.
"""

from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.autograd.function import once_differentiable

TRANSITIONS = ("row", "released", "column")
BLOCK = 512  # rows
SHORT, LONG = 1e-15, 1e15  # lengths between which no square under- or overflows in float32


def squared_lengths(points: Float[Tensor, "n d"]) -> Float[Tensor, " n"]:
    """Squared lengths of rows, without gradient; faster than the products of rows with themselves."""
    return torch.linalg.vector_norm(points, dim=1).square_()


def at_least_float32(values: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
    """The values in float32, or float64 where they are that: half the digits of float16 are gone in one product."""
    return values if values.dtype == torch.float64 else values.float()


def full_precision(values: Tensor) -> AbstractContextManager[Any]:
    """Autocast off, where it is on, and on CUDA TF32, too."""
    kind = values.device.type
    autocast_off = torch.autocast(kind, enabled=False) if torch.is_autocast_enabled(kind) else nullcontext()
    if kind != "cuda":
        return autocast_off
    contexts = ExitStack()
    contexts.enter_context(autocast_off)
    contexts.enter_context(_without_tf32())
    return contexts


@contextmanager
def _without_tf32() -> Iterator[None]:
    before = torch.backends.cuda.matmul.fp32_precision
    torch.backends.cuda.matmul.fp32_precision = "ieee"
    try:
        yield
    finally:
        torch.backends.cuda.matmul.fp32_precision = before


def unit_rows(embeddings: Float[Tensor, "B d"], saturated: dict[int, Tensor] | None = None) -> Float[Tensor, "B d"]:
    """Bring rows to unit Euclidean length; zero rows stay zero and get no gradient.

    Args:
        embeddings: (B, d) float; float16 and bfloat16 are raised to float32. A row whose largest entry is below the
            smallest normal number of the result's type, 1.2e-38 in float32 and 2.2e-308 in float64, counts as zero;
            any other row is normalized, however short or long.
        saturated: receives, in the backward pass, the number of entries of the gradient that exceeded its type.

    Returns:
        (B, d) float32 or float64.

    Raises:
        ValueError: where embeddings are not finite.

    Source: Sharma, Agarwal & Kumar (2025), the normalization before the graph is built.
    """
    return _UnitRows.apply(embeddings, {} if saturated is None else saturated)


def scale_to_unit(points: Float[Tensor, "B d"]) -> Float[Tensor, "B d"]:
    """As `unit_rows`, without gradient."""
    rows = at_least_float32(points.detach().clone())
    scale_to_unit_(rows)
    return rows


def scale_to_unit_(points: Float[Tensor, "B d"]) -> tuple[Float[Tensor, "B 1"], float]:
    """Bring rows to unit length in place; returns the inverse of the lengths they had, 0 for zero rows, and the least.

    Raises:
        ValueError: where points are not finite.
    """
    lengths = torch.linalg.vector_norm(points, dim=1, keepdim=True)
    if points.shape[0]:
        shortest, longest = (float(length) for length in lengths.aminmax())
        if not (shortest > SHORT and longest < LONG):
            return _scale_extreme_to_unit_(points), 0.0
    inverse = lengths.reciprocal_()
    points.mul_(inverse)
    return inverse, shortest if points.shape[0] else 1.0


def _scale_extreme_to_unit_(points: Tensor) -> Tensor:
    """As `scale_to_unit_`, for rows whose squares may under- or overflow: scaled by their largest entry first."""
    check_finite(points)
    peak = points.abs().amax(dim=1, keepdim=True)
    inverse_peak = torch.where(peak >= torch.finfo(points.dtype).tiny, peak.reciprocal(), 0.0)
    points.mul_(inverse_peak)
    lengths = torch.linalg.vector_norm(points, dim=1, keepdim=True).clamp_min_(0.5)  # at least 1, but for zero rows
    points.div_(lengths)
    return inverse_peak.div_(lengths)


def check_finite(embeddings: Float[Tensor, "B d"]) -> None:
    """Refuse embeddings with entries that are not finite.

    Raises:
        ValueError: with the number of such rows and the likely cause.
    """
    wrong = ~torch.isfinite(embeddings).all(dim=1)
    if wrong.any():
        raise ValueError(
            f"embeddings must be finite, but {int(wrong.sum())} of {len(embeddings)} rows are not: most likely the "
            "encoder diverged, from too high a learning rate, or overflowed in float16"
        )


def unit_gradient(
    rows: Float[Tensor, "K d"],
    centre: Float[Tensor, " d"] | float,
    inverse_length: Float[Tensor, "B 1"],
    gradient: Float[Tensor, "B d"],
) -> Float[Tensor, "B d"]:
    """The gradient with respect to embeddings, given the one with respect to their unit rows, which is overwritten.

    Args:
        rows: (K, d), the unit rows less their centre, K >= B.
        centre: (d,), or 0.
        inverse_length: (B, 1), of the embeddings.
        gradient: (B, d).
    """
    for start in range(0, gradient.shape[0], BLOCK):  # a few passes over what stays in the caches
        block = slice(start, start + BLOCK)
        part = gradient[block]
        points = rows[start : start + part.shape[0]] + centre
        along = torch.linalg.vecdot(points, part)[:, None]
        part.addcmul_(points, along, value=-1.0).mul_(inverse_length[block])
    return gradient


def may_saturate(shortest: float, width: float | Tensor) -> bool:
    """Whether a gradient might exceed float32: not for rows and widths of any usual size, and so not looked for there.

    Args:
        shortest: the length of the shortest embedding.
        width: sigma, or one for each document.
    """
    return shortest < 1e-5 or isinstance(width, Tensor) or width < 1e-3


def saturate(gradient: Float[Tensor, "B d"], dtype: torch.dtype, counts: dict[int, Tensor], key: int) -> Tensor:
    """The gradient in another type, entries that exceed it at its largest number.

    Args:
        gradient: (B, d), overwritten.
        dtype: the type wanted.
        counts: receives the number of those entries.
        key: under this number.
    """
    limit = torch.finfo(dtype).max
    counts[key] = torch.count_nonzero(gradient.abs() > limit)
    return gradient.clamp_(-limit, limit).to(dtype)


def shared(embeddings: Float[Tensor, "B d"], saturated: dict[int, Tensor]) -> Float[Tensor, "B d"]:
    """The embeddings in float32 at least, for several graphs: the sum of their gradients saturates, not overflows.

    Args:
        embeddings: (B, d) float.
        saturated: as in `unit_rows`.
    """
    return _Shared.apply(embeddings, saturated)


class _Shared(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, embeddings: Tensor, saturated: dict[int, Tensor]) -> Tensor:
        ctx.dtype, ctx.saturated = embeddings.dtype, saturated
        return at_least_float32(embeddings).clone()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        return saturate(gradients[0].clone(), ctx.dtype, ctx.saturated, id(ctx)), None


class _UnitRows(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, embeddings: Tensor, saturated: dict[int, Tensor]) -> Tensor:
        rows = at_least_float32(embeddings.clone())
        inverse_length, _ = scale_to_unit_(rows)
        ctx.save_for_backward(rows, inverse_length)
        ctx.dtype, ctx.saturated = embeddings.dtype, saturated
        return rows

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        rows, inverse_length = ctx.saved_tensors
        gradient = unit_gradient(rows, 0.0, inverse_length, gradients[0].clone())
        return saturate(gradient, ctx.dtype, ctx.saturated, id(ctx)), None


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
    points: Float[Tensor, "B d"],
    nodes: Int[Tensor, " n"] | None,
    bandwidth: float | Float[Tensor, ""] | Float[Tensor, " B"],
) -> Float[Tensor, "n B"]:
    """Logarithms of the Gaussian weights w_ij = exp(-|x_i - x_j|^2 / (2 sigma_i sigma_j)), w_ii = 0.

    Args:
        points: (B, d) float, one point a document.
        nodes: (n,) int64, the rows wanted; None for all.
        bandwidth: sigma > 0, in the unit of the points; (B,) for a width of each document.

    Returns:
        (n, B); -inf where a document meets itself.

    Source: Sharma, Agarwal & Kumar (2025), the affinity of the complete graph.
    """
    rows = points if nodes is None else points[nodes]
    own = torch.arange(len(points), device=points.device) if nodes is None else nodes
    if isinstance(bandwidth, Tensor) and bandwidth.ndim:
        scale: float | Tensor = -0.5 / (bandwidth[own, None] * bandwidth).to(points)
    else:
        scale = -0.5 / bandwidth**2
    logs = squared_distances(rows, points) * scale
    return logs.scatter(1, own[:, None], -torch.inf)


def transition_rows(
    points: Float[Tensor, "B d"],
    nodes: Int[Tensor, " n"],
    bandwidth: float | Float[Tensor, ""] | Float[Tensor, " B"],
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
        bandwidth: sigma > 0; (B,) for a width of each document.
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
