"""Unlabelled documents teach the last layer what it and the graph think of them."""

import torch
from jaxtyping import Float
from torch import Tensor

from graphloss.models.forward import Answers
from graphloss.models.linear_head import LinearHead
from graphloss.run.documents import LabelledSplits
from graphloss.run.graph import graph_of
from graphloss.run.workspace import Workspace
from graphloss.training.last_fit import teach


def can_be_taught(data: LabelledSplits) -> bool:
    """Whether there are training documents without a label, and labels of validation documents to check by."""
    return min(data.ids["train"]) < 0 <= max(data.ids["validation"], default=-1)


def taught_head(
    space: Workspace, head: LinearHead, train: Answers, validation: Answers, *, bias: bool = True
) -> LinearHead:
    """A head for the last layer that documents without a label taught, or the very same one; see `teach`.

    Args:
        space: the documents, such that it can be taught.
        head: fitted to the labels.
        train: as logits what the last layer reads of the training documents; and their embeddings.
        validation: the same of validation documents.
        bias: whether the last layer has one.
    """
    labels, checked = (torch.tensor(space.data.ids[split]) for split in ("train", "validation"))
    opinions = _opinions(space, head, train, validation)
    taught = teach(head, train.logits, labels, opinions, validation.logits, checked, bias=bias)
    if taught is not head:
        space.say("documents without a label taught the last layer what head and graph think of them")
    return taught


def _opinions(space: Workspace, head: LinearHead, train: Answers, validation: Answers) -> Float[Tensor, "n C"]:
    """What a head and the graph think of the training documents; zeros where the graph is not worth asking."""
    train, validation = (each._replace(logits=head.logits(each.logits)) for each in (train, validation))
    graph, rows = graph_of(space, train, validation)
    opinions = torch.zeros(train.logits.shape)  # of those that the index left out, too
    if graph.mixture.weight > 0.0:
        opinions[rows] = graph.opinions(train.logits[rows]).float()
    return opinions
