"""The graph of the training documents of a run."""

import torch
from jaxtyping import Int
from torch import Tensor

from graphloss.inference.document_graph import DocumentGraph, fit_graph
from graphloss.inference.index import Index
from graphloss.inference.votes import smoothed
from graphloss.models.forward import Answers
from graphloss.run.workspace import Workspace


def graph_of(
    space: Workspace, train: Answers, validation: Answers, left_out: Tensor | None = None
) -> tuple[DocumentGraph, Int[Tensor, " N"]]:
    """The graph, fitted to validation documents.

    Args:
        space: the documents.
        train: answers for the training documents.
        validation: for those of validation.
        left_out: (n, C) logits of the training documents by heads that were fitted without them, where the encoder has
            not seen their labels either.

    Returns:
        The graph, and the row numbers of its documents among those of training.
    """
    data, config = space.data, space.config
    index, rows = Index.build(
        data.splits.train,
        data.ids["train"],
        data.names,
        train.embeddings,
        opinions=torch.softmax(train.logits, dim=1),
        most=config.graph.index_size,
        seed=config.training.seed,
    )
    graph = fit_graph(
        smoothed(index),
        validation=index.views(data.splits.validation, validation.embeddings),
        logits=validation.logits,
        labels=torch.tensor(data.ids["validation"]),
        left_out=None if left_out is None else left_out[rows],
        coverage=config.graph.coverage,
    )
    return graph, rows
