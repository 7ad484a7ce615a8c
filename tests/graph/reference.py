"""The released recipe, plain, dense and in float64: what the fast paths are held against.

Written from the equations of the paper, one matrix after the other.
"""

import torch
from torch import Tensor


def transition_matrix(points: Tensor, sigma: float, transition: str) -> Tensor:
    """(B, B) float64, with all diagonal matrices multiplied as dense ones."""
    weights = torch.exp(-((points[:, None] - points).square().sum(-1)) / (2 * sigma**2))
    weights = weights * (1 - torch.eye(len(points), dtype=torch.float64))
    if transition == "row":
        return torch.diag(1 / weights.sum(1)) @ weights
    root = torch.diag(weights.sum(1) ** -0.5)
    symmetric = root @ weights @ root
    columns = symmetric @ torch.diag(1 / symmetric.sum(0))
    return columns if transition == "column" else torch.diag(1 / columns.sum(1)) @ columns


def propagate(
    embeddings: Tensor,
    labels: Tensor,
    labelled: Tensor,
    unlabelled: Tensor,
    num_labels: int,
    sigma: float,
    transition: str = "released",
    teleport: float = 0.0,
) -> Tensor:
    """(u, C) float64, by the inverse."""
    embeddings = embeddings.double()
    points = embeddings / embeddings.norm(dim=1, keepdim=True)
    matrix = transition_matrix(points, sigma, transition)
    targets = torch.nn.functional.one_hot(labels[labelled], num_labels).double()
    among, towards = matrix[unlabelled][:, unlabelled], matrix[unlabelled][:, labelled]
    inverse = torch.inverse(torch.eye(len(unlabelled), dtype=torch.float64) - (1 - teleport) * among)
    return inverse @ ((1 - teleport) * towards @ targets + teleport * targets.mean(0))


def released_loss(
    embeddings: Tensor,
    labels: Tensor,
    num_labels: int,
    sigma: float,
    gamma: float = 0.7,
    dtype: torch.dtype = torch.float64,
) -> Tensor:
    """One step of the released recipe: a random split, the closed form, the second softmax. Distances by `cdist`."""
    order = torch.randperm(len(labels), device=labels.device)
    kept = round(gamma * len(labels))
    labelled, masked = order[:kept], order[kept:]
    points = torch.nn.functional.normalize(embeddings.to(dtype))
    weights = torch.exp(-(torch.cdist(points, points) ** 2) / (2 * sigma**2))
    weights = weights * (1 - torch.eye(len(points)).to(weights))
    root = torch.diag(weights.sum(1) ** -0.5)
    symmetric = root @ weights @ root
    columns = symmetric @ torch.diag(1 / symmetric.sum(0))
    matrix = torch.diag(1 / columns.sum(1)) @ columns
    targets = torch.nn.functional.one_hot(labels[labelled], num_labels).to(dtype)
    system = torch.eye(len(masked)).to(matrix) - matrix[masked][:, masked]
    propagated = torch.inverse(system) @ matrix[masked][:, labelled] @ targets
    return torch.nn.functional.cross_entropy(propagated, labels[masked])
