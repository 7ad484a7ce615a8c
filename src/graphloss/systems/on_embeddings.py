"""Classifiers on the embeddings of an encoder that is left as it is."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from graphloss.graph.affinity import scale_to_unit
from graphloss.graph.bandwidth import bandwidth_loo
from graphloss.graph.propagation import propagate
from graphloss.inference.classifier import TrainedClassifier
from graphloss.models.encoder import load_encoder
from graphloss.models.linear_head import fit_linear_head
from graphloss.run.config import RunConfig
from graphloss.run.documents import LabelledSplits

NEIGHBOURS = (1, 3, 5, 10, 20, 50)
LEAST = 1e-3  # what a class gets at least where logarithms of shares are taken


def logistic(
    config: RunConfig, data: LabelledSplits, say: Callable[[str], None]
) -> dict[str, Float[np.ndarray, "n C"]]:
    """Logistic regression; logits by split. Its regularization is chosen by left-out folds."""
    embeddings = _embed(config, data, say)
    head = fit_linear_head(embeddings["train"], torch.tensor(data.ids["train"]), len(data.names))
    return {split: head.logits(embeddings[split]).double().numpy() for split in data.scored}


def nearest_neighbours(
    config: RunConfig, data: LabelledSplits, say: Callable[[str], None]
) -> dict[str, Float[np.ndarray, "n C"]]:
    """The vote of the nearest training documents by cosine; logarithms of shares by split. As many neighbours as are
    most often right on validation."""
    embeddings = _embed(config, data, say)
    labels = torch.tensor(data.ids["train"])
    known = torch.nonzero(labels >= 0)[:, 0]
    classes = torch.eye(len(data.names))[labels[known]]
    most = min(max(NEIGHBOURS), len(known))
    nearest = {
        split: torch.cat(
            [(part @ embeddings["train"][known].T).topk(most).indices for part in embeddings[split].split(1_000)]
        )
        for split in data.scored
    }
    checked = torch.tensor(data.ids["validation"])

    def shares(split: str, neighbours: int) -> Tensor:
        return classes[nearest[split][:, :neighbours]].mean(dim=1)

    def right(neighbours: int) -> tuple[float, int]:
        found = shares("validation", neighbours).argmax(dim=1) == checked
        return float(found[checked >= 0].double().mean()), -neighbours

    best = max((each for each in NEIGHBOURS if each <= most), key=right)
    return {split: torch.log(shares(split, best).double() + LEAST).numpy() for split in data.scored}


def label_propagation(
    config: RunConfig, data: LabelledSplits, say: Callable[[str], None]
) -> dict[str, Float[np.ndarray, "n C"]]:
    """Closed-form label propagation over all documents at once, transductive: unlabelled ones are nodes, too.

    Logarithms of probabilities by split. The width is that under which training labels, each left out, are likeliest.

    Source: Zhu & Ghahramani (2002); Zhu, Ghahramani & Lafferty (2003) for class mass normalization.
    """
    embeddings = _embed(config, data, say)
    points = torch.cat(list(embeddings.values()))
    labels = torch.tensor(data.ids["train"] + [-100] * (len(points) - len(embeddings["train"])))
    known = labels >= 0
    width = bandwidth_loo(points[known], labels[known])
    others = torch.arange(len(embeddings["train"]), len(points))
    found = propagate(
        points,
        labels,
        torch.nonzero(known)[:, 0],
        others,
        num_labels=len(data.names),
        bandwidth=width,
        teleport=1e-4,
        class_mass=torch.bincount(labels[known], minlength=len(data.names)) / len(labels[known]),
    )
    parts = found.double().split([len(embeddings[split]) for split in data.scored])
    return {split: torch.log(part + LEAST).numpy() for split, part in zip(data.scored, parts, strict=True)}


def _embed(config: RunConfig, data: LabelledSplits, say: Callable[[str], None]) -> dict[str, Float[Tensor, "n d"]]:
    """Embeddings of unit length by split."""
    encoder = load_encoder(config.model.encoder)
    if config.model.pooling != "auto":
        encoder = replace(encoder, pooling=config.model.pooling)
    untouched = TrainedClassifier.untouched(encoder, max_length=config.model.max_length, say=say)
    return {split: scale_to_unit(untouched.answer(data.documents(split)).embeddings) for split in data.ids}
