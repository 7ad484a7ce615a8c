"""Closed-form label propagation."""

from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional

from graphloss.graph.affinity import (
    TRANSITIONS,
    at_least_float32,
    check_finite,
    full_precision,
    transition_rows,
    unit_rows,
)
from graphloss.graph.attention import SOLVERS, Problem, attention_labels
from graphloss.graph.bandwidth import bandwidth_sqrt
from graphloss.graph.harmonic import harmonic_labels
from graphloss.graph.sharing import Ranks, Sources, infer_shared


def propagate(
    embeddings: Float[Tensor, "B d"],
    labels: Int[Tensor, " B"] | Float[Tensor, "B C"],
    labelled: Int[Tensor, " l"],
    evaluated: Int[Tensor, " e"],
    *,
    num_labels: int,
    bandwidth: float | Float[Tensor, ""] | Float[Tensor, " B"],
    transition: str = "row",
    teleport: float = 0.0,
    class_mass: Float[Tensor, " C"] | None = None,
    normalize: bool = True,
    solver: str = "auto",
    tolerance: float | None = None,
) -> Float[Tensor, "e C"]:
    """Infer the labels of documents from those of others by the harmonic solution on their graph.

    Solves f = P_uu f + P_ul Y_l for all nodes u that are not labelled. With a row-stochastic transition each row of
    the answer is a distribution over the classes that the labelled documents have.

    Args:
        embeddings: (B, d) float. Below float32 they are raised to float32; autocast does not touch what happens here.
        labels: (B,) int64, or (B, C) float with a distribution in each row; only those of `labelled` are read.
        labelled: (l,) int64 row numbers of the documents whose labels are given.
        evaluated: (e,) int64 row numbers of the documents asked for; none of them in `labelled`. Rows in neither list
            take part as unlabelled nodes.
        num_labels: C, the number of classes.
        bandwidth: sigma of the Gaussian affinity, > 0; a scalar tensor receives a gradient; (B,) for a width of each
            document, as `local_widths` gives them.
        transition: "row", "released" or "column"; see `transition_rows`.
        teleport: with this probability a step of the walk ends at a labelled document drawn at random. It is never
            less than four units of rounding, which keeps the system regular: a node that no label reaches gets the
            class shares of the labelled documents, and no gradient.
        class_mass: (C,) float, the share of each class that the answer should have over all unlabelled nodes; None
            leaves the answer as it is. In a dense graph with few labels, what is inferred is nearly the same for all
            nodes and the largest class wins everywhere; this repairs it.
        normalize: bring rows to unit length first, as in the paper.
        solver: "direct" factors the system; "matrix-free" iterates, with memory linear in B; "auto" takes the faster:
            direct for up to 1,000 unlabelled nodes. Transitions other than "row" are always solved directly.
        tolerance: of the matrix-free solver, on the largest entry of the residual relative to the largest of the
            solution; None for eight units of rounding.

    Returns:
        (e, C) float32 or float64. Without any labelled document every row is uniform.

    Raises:
        ValueError: for a bandwidth that is not positive and finite, a teleport outside [0, 1], an unknown transition or
            solver, a label out of range, a class mass that is no share, embeddings that are not finite, and a document
            that is both labelled and evaluated.

    Source: Zhu & Ghahramani (2002), learning from labelled and unlabelled data with label propagation; Zhu, Ghahramani
    & Lafferty (2003) for class mass normalization; Sharma, Agarwal & Kumar (2025) for its place in a loss.
    """
    _check_settings(bandwidth, teleport, transition, solver)
    _check_labels(labels, labelled, evaluated, num_labels)
    if class_mass is not None:
        _check_class_mass(class_mass, num_labels)
    if not normalize or len(labelled) == 0 or len(evaluated) == 0:
        check_finite(embeddings)  # which normalizing them does otherwise
    if len(labelled) == 0 or len(evaluated) == 0:
        return at_least_float32(embeddings[:0]).new_full((len(evaluated), num_labels), 1.0 / num_labels)
    solution = infer(
        embeddings,
        labels,
        labelled,
        evaluated_first(len(embeddings), labelled, evaluated),
        num_labels=num_labels,
        bandwidth=bandwidth,
        transition=transition,
        teleport=teleport,
        normalize=normalize,
        solver=solver,
        tolerance=tolerance,
    )
    if class_mass is not None:
        solution = with_class_mass(solution, class_mass.to(solution))
    return solution[: len(evaluated)]


def infer(
    embeddings: Float[Tensor, "B d"],
    labels: Int[Tensor, " B"] | Float[Tensor, "B C"],
    labelled: Int[Tensor, " l"],
    inferred: Int[Tensor, " u"],
    *,
    num_labels: int,
    bandwidth: float | Tensor | None,
    transition: str,
    teleport: float,
    memory: tuple[Float[Tensor, "M d"], Tensor] | None = None,
    normalize: bool = True,
    solver: str = "auto",
    tolerance: float | None = None,
    report: dict[str, Any] | None = None,
    ranks: Ranks | None = None,
) -> Float[Tensor, "u C"]:
    """The harmonic solution of all nodes to infer; as `propagate`, but with its arguments trusted.

    Args:
        embeddings: see `propagate`.
        labels: see `propagate`.
        labelled: see `propagate`; some, or there is a memory.
        inferred: (u,) int64, all other documents, u > 0.
        num_labels: C.
        bandwidth: as in `propagate`; None for that of `bandwidth_sqrt`.
        transition: see `propagate`; "row" where there is a memory.
        teleport: see `propagate`.
        memory: labelled nodes beside the documents, constant: (M, d) points, of unit length where rows are normalized,
            and their labels.
        normalize: see `propagate`.
        solver: see `propagate`.
        tolerance: see `propagate`.
        report: receives "bandwidth" and, in the backward pass, "saturated"; see `attention_labels`.
        ranks: processes that share the rows of the transition "row", each given all embeddings and labels.
    """
    report = {} if report is None else report
    dtype = torch.float64 if embeddings.dtype == torch.float64 else torch.float32
    given = labels.index_select(0, labelled)
    points = None
    if memory is not None:
        points = memory[0].to(embeddings.device, dtype)
        given = torch.cat([given, memory[1].to(given)])
    targets = _label_rows(given, num_labels, dtype)
    shares = targets.mean(dim=0)
    shares[-1] = 0.0
    teleport = max(teleport, 4.0 * torch.finfo(dtype).eps)
    if transition == "row" and ranks is None:
        order = torch.cat([inferred, labelled])
        problem = Problem(order, inferred.shape[0], targets, shares, teleport, points, normalize, solver, tolerance)
        return attention_labels(embeddings, bandwidth, problem, report)
    with full_precision(embeddings):
        width = bandwidth_sqrt(embeddings) if bandwidth is None else bandwidth
        report["bandwidth"] = width.detach() if isinstance(width, Tensor) else width
        nodes = unit_rows(embeddings, report.setdefault("saturated", {})) if normalize else at_least_float32(embeddings)
        if ranks is not None and transition == "row":
            sources = Sources(labelled, targets, shares, points, teleport)
            return infer_shared(nodes, inferred, sources, width, solver=solver, ranks=ranks)
        rows = transition_rows(nodes, inferred, width, transition)
        among, reach = rows[:, inferred], rows[:, labelled] @ targets
        return harmonic_labels(among, reach, shares, teleport=teleport, stochastic_rows=transition != "column")


def _label_rows(labels: Tensor, num_labels: int, dtype: torch.dtype) -> Float[Tensor, "l C1"]:
    """A distribution over the classes for each document, and a last column of ones."""
    if labels.ndim == 2:
        return functional.pad(labels.to(dtype), (0, 1), value=1.0)
    rows = torch.zeros(labels.shape[0], num_labels + 1, dtype=dtype, device=labels.device)
    rows[:, -1] = 1.0
    return rows.scatter_(1, labels[:, None], 1.0)


def evaluated_first(size: int, labelled: Tensor, evaluated: Tensor) -> Int[Tensor, " u"]:
    """The nodes to infer, those asked for before the others."""
    if labelled.shape[0] + evaluated.shape[0] == size:
        return evaluated
    rest = torch.ones(size, dtype=torch.bool, device=labelled.device)
    rest[labelled] = False
    rest[evaluated] = False
    return torch.cat([evaluated, torch.nonzero(rest).squeeze(1)])


def with_class_mass(solution: Float[Tensor, "u C"], class_mass: Float[Tensor, " C"]) -> Float[Tensor, "u C"]:
    """Weigh the classes such that over all nodes they have given shares, and bring rows to sum one; see `propagate`."""
    mass = solution.mean(dim=0)
    scaled = solution * torch.where(mass > 0, class_mass / torch.where(mass > 0, mass, 1.0), 0.0)
    total = scaled.sum(dim=1, keepdim=True)
    return torch.where(total > 0, scaled / torch.where(total > 0, total, 1.0), solution)


def _check_settings(bandwidth: float | Tensor, teleport: float, transition: str, solver: str) -> None:
    widths = bandwidth if isinstance(bandwidth, Tensor) else torch.tensor(bandwidth)
    if not ((widths > 0) & (widths < float("inf"))).all():
        raise ValueError(f"bandwidth must be a positive finite number, got {bandwidth}")
    if not 0.0 <= teleport <= 1.0:
        raise ValueError(f"teleport must lie in [0, 1], got {teleport}")
    if transition not in TRANSITIONS:
        raise ValueError(f"transition must be one of {', '.join(TRANSITIONS)}, got {transition!r}")
    if solver not in SOLVERS:
        raise ValueError(f"solver must be one of {', '.join(SOLVERS)}, got {solver!r}")
    if solver == "matrix-free" and transition != "row":
        raise ValueError(f"solver 'matrix-free' needs the transition 'row', got {transition!r}")


def _check_labels(labels: Tensor, labelled: Tensor, evaluated: Tensor, num_labels: int) -> None:
    if torch.isin(evaluated, labelled).any():
        raise ValueError("evaluated documents must not be among the labelled ones")
    given = labels[labelled]
    if labels.ndim == 2:
        check_distributions(given, num_labels)
    elif ((given < 0) | (given >= num_labels)).any():
        raise ValueError(f"labels of labelled documents must lie in [0, {num_labels}), found {given.unique().tolist()}")


def check_distributions(rows: Float[Tensor, "n C"], num_labels: int) -> None:
    """Refuse label rows that are no distributions over the classes.

    Raises:
        ValueError: with the first such row.
    """
    if rows.shape[1] != num_labels:
        raise ValueError(f"label rows must have {num_labels} columns, one a class, got {rows.shape[1]}")
    wrong = ~((rows >= 0).all(dim=1) & ((rows.sum(dim=1) - 1.0).abs() < 1e-3))
    if wrong.any():
        raise ValueError(
            f"label rows must be shares of the classes that sum to 1, or NaN where there is no label, found "
            f"{rows[wrong][0].tolist()}"
        )


def _check_class_mass(class_mass: Tensor, num_labels: int) -> None:
    if class_mass.shape != (num_labels,):
        raise ValueError(f"class_mass must have shape ({num_labels},), got {tuple(class_mass.shape)}")
    if not ((class_mass >= 0) & (class_mass < float("inf"))).all() or class_mass.sum() <= 0:
        raise ValueError(f"class_mass must hold shares of the classes, not negative, got {class_mass.tolist()}")
