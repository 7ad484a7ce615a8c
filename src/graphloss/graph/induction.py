"""Labels for documents outside the graph: what labelled documents hand to a new one, whatever else is asked.

A new document is the one unlabelled node beside the labelled ones, so that f = P_ul Y_l: its row of P_ul is a
distribution over the labelled documents, and with a row-normalized Gaussian affinity of unit vectors a softmax of
cosines at the temperature sigma^2.
"""

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from graphloss.graph.harmonic import factor

GRID = 12
NARROWEST, WIDEST = 0.04, 0.8  # of the widths tried, in median distances
SAMPLED = 100_000
FEW = 64  # documents: their similarities with thousands stay in the caches while every width is tried
BLOCK = 1_024  # documents: the weights of a block with another stay in the caches
UNDERFLOWN = 1e-25  # sum of weights below which digits are lost


def width_grid(similarities: Float[Tensor, "n N"]) -> list[float]:
    """Kernel widths worth trying, in ascending order: from 1/25 to 4/5 of the median distance.

    Args:
        similarities: (n, N) cosines between documents; -inf where a document meets itself.
    """
    values = similarities.flatten()
    values = values[:: max(len(values) // SAMPLED, 1)]
    values = values[values > -torch.inf]
    distance = float((2.0 - 2.0 * values.median()).clamp_min(1e-6).sqrt()) if len(values) else 1.0
    return np.geomspace(NARROWEST * distance, WIDEST * distance, GRID).tolist()


def walk_rows(similarities: Float[Tensor, "n N"], bandwidth: float) -> Float[Tensor, "n N"]:
    """Rows of P_ul: the share of each labelled document in what a new one is told.

    Args:
        similarities: (n, N) cosines; -inf for documents that are not to be asked.
        bandwidth: sigma > 0 of exp(-|x - y|^2 / (2 sigma^2)) between unit vectors.

    Returns:
        (n, N), rows sum to one; zero where nobody is to be asked.
    """
    highest = similarities.amax(dim=1, keepdim=True).clamp_min_(-1.0)  # -inf where there is nobody to be asked
    weights = similarities.sub(highest).mul_(bandwidth**-2).exp_()
    return weights.div_(weights.sum(dim=1, keepdim=True).clamp_min_(torch.finfo(weights.dtype).tiny))


def shares_by_width(
    similarities: Float[Tensor, "n N"], widths: list[float], targets: Float[Tensor, "N C"]
) -> list[Float[Tensor, "n C"]]:
    """`class_shares` of `walk_rows` for each of several widths, without forming these rows.

    Args:
        similarities: (n, N) cosines; -inf for documents that are not to be asked.
        widths: sigma > 0 of each answer.
        targets: (N, C) label rows.
    """
    counted = torch.nn.functional.pad(targets, (0, 1), value=1.0)  # what weights sum to is one column more
    received = similarities.new_empty(len(widths), len(similarities), counted.shape[1])
    for start in range(0, len(similarities), FEW):
        part = similarities[start : start + FEW]
        relative = part - part.amax(dim=1, keepdim=True).clamp_min(-1.0)  # -inf where there is nobody to be asked
        weights = torch.empty_like(relative)
        for number, width in enumerate(widths):
            torch.mul(relative, width**-2, out=weights).exp_()
            torch.mm(weights, counted, out=received[number, start : start + FEW])
    return list(received[..., :-1] / received[..., -1:].clamp_min(torch.finfo(received.dtype).tiny))


def kernel_mass(similarities: Float[Tensor, "n N"], bandwidth: float) -> Float[Tensor, " n"]:
    """The sum of the Gaussian weights of a document to the labelled ones: N where it coincides with all of them, next
    to nothing where nothing like it has a label. In float64: float32 has no number as small as that."""
    highest = similarities.amax(dim=1).clamp_min_(-1.0)
    relative = similarities.sub(highest[:, None]).mul_(bandwidth**-2).exp_().sum(dim=1)
    return relative.double() * ((highest.double() - 1.0) / bandwidth**2).exp()


def class_shares(rows: Float[Tensor, "n N"], targets: Float[Tensor, "N C"]) -> Float[Tensor, "n C"]:
    """The labels that rows of P_ul hand on: f = P_ul Y_l."""
    return rows @ targets


def left_out_shares(
    points: Float[Tensor, "N d"], targets: Float[Tensor, "N C"], bandwidth: float
) -> Float[Tensor, "N C"]:
    """The labels that each labelled document would receive from all others.

    What i is to j, j is to i: each pair is compared once, where rows of P_ul would compare it twice.

    Args:
        points: (N, d) float32 of unit length.
        targets: (N, C) distributions over the classes.
        bandwidth: sigma > 0.

    Returns:
        (N, C), as `class_shares` of `walk_rows` with -inf where a document meets itself.
    """
    received = torch.zeros_like(targets)
    blocks = [slice(start, start + BLOCK) for start in range(0, len(points), BLOCK)]
    for number, rows in enumerate(blocks):
        for columns in blocks[number:]:
            weights = (points[rows] @ points[columns].mT).sub_(1.0).mul_(bandwidth**-2).exp_()
            if rows == columns:
                weights.fill_diagonal_(0.0)
            else:
                received[columns] += weights.mT @ targets[rows]
            received[rows] += weights @ targets[columns]
    total = received.sum(dim=1, keepdim=True)
    lonely = torch.nonzero(total[:, 0] < UNDERFLOWN)[:, 0]
    received = received / total.clamp_min(UNDERFLOWN)
    for some in lonely.split(BLOCK):
        similarities = (points[some] @ points.mT).scatter_(1, some[:, None], -torch.inf)
        received[some] = class_shares(walk_rows(similarities, bandwidth), targets)
    return received


def company_rows(
    among: Float[Tensor, "u u"], reach: list[Float[Tensor, "u N"]], teleport: float = 1e-6
) -> list[Float[Tensor, "u N"]]:
    """The shares of labelled documents where new ones also hear of labels from each other: (I - P_uu)^-1 P_ul.

    Args:
        among: (u, u), P_uu, zero on its diagonal.
        reach: parts of P_ul that add up to it, (u, N) each.
        teleport: probability that a step ends at a labelled document drawn at random; keeps the system regular where
            documents hear of each other alone.

    Returns:
        The parts of the answer, which add up to rows that sum to one.

    Source: Zhu & Ghahramani (2002); that the solution is linear in the labels makes it an explanation.
    """
    leak = torch.stack([part.sum(dim=1) for part in reach]).sum(dim=0)
    factors = factor(among.double(), leak.double(), teleport)
    drawn = teleport / (len(reach) * reach[0].shape[1])
    solved = [factors.solve(part.double() * (1.0 - teleport) + drawn) for part in reach]
    total = torch.stack([part.sum(dim=1, keepdim=True) for part in solved]).sum(dim=0)
    return [(part / total).float() for part in solved]


def one_hot(labels: Int[Tensor, " N"], num_labels: int) -> Float[Tensor, "N C"]:
    """(N, C) float32 label rows; zero for documents without a label, below 0."""
    rows = torch.zeros(len(labels), num_labels)
    known = labels >= 0
    rows[known] = torch.nn.functional.one_hot(labels[known], num_labels).float()
    return rows
