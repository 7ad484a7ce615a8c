"""TextGCN: a graph convolution over documents and words."""

from collections.abc import Callable

import numpy as np
import torch
from jaxtyping import Float, Int
from scipy.sparse import csr_matrix, diags_array
from torch import Tensor, nn

from graphloss.run.documents import LabelledSplits
from graphloss.systems.nodes import Nodes
from graphloss.systems.sparse_product import SparseProduct

HIDDEN, DROPOUT, RATE, EPOCHS, PATIENCE = 200, 0.5, 0.02, 200, 10  # of the paper


class TextGCN(nn.Module):
    """Two graph convolutions; a node has no features but itself.

    Args:
        nodes: N.
        num_labels: C.
    """

    def __init__(self, nodes: int, num_labels: int) -> None:
        super().__init__()
        self.nodes = nn.Parameter(nn.init.xavier_uniform_(torch.empty(nodes, HIDDEN)))
        self.classes = nn.Parameter(nn.init.xavier_uniform_(torch.empty(HIDDEN, num_labels)))

    def forward(self, everywhere: SparseProduct, documents: SparseProduct) -> Float[Tensor, "n C"]:
        """Logits of the documents.

        Args:
            everywhere: the (N, N) adjacency.
            documents: its first n rows.
        """
        hidden = nn.functional.dropout(torch.relu(everywhere(self.nodes)), DROPOUT, self.training)
        return documents(hidden @ self.classes)

    @torch.no_grad()
    def of_new(
        self, everywhere: SparseProduct, edges: csr_matrix, loops: Float[np.ndarray, " m"]
    ) -> Float[Tensor, "m C"]:
        """Logits of documents outside the graph, whose own node nobody has learned: by their words alone.

        Args:
            everywhere: the (N, N) adjacency.
            edges: (m, V), normalized edges to the words.
            loops: (m,) normalized loops.
        """
        words, known = torch.relu(everywhere(self.nodes))[-edges.shape[1] :], self.nodes[-edges.shape[1] :]
        own = torch.relu(SparseProduct(edges)(known))
        from_self = SparseProduct(csr_matrix(diags_array(loops.astype(np.float32))))(own @ self.classes)
        return SparseProduct(edges)(words @ self.classes) + from_self


def text_gcn(
    data: LabelledSplits, *, seed: int, inductive: bool = False, say: Callable[[str], None] = lambda line: None
) -> dict[str, Float[np.ndarray, "n C"]]:
    """Logits of the documents by split.

    Args:
        data: the documents; validation and test documents are nodes without a label.
        seed: of the first weights and dropout.
        inductive: leave the test documents out of the graph; the published system has them in it.
        say: told how large the graph is, and when training stopped.

    Training is that of the paper: full batches, Adam at 0.02, at most 200 epochs, stopped where the validation loss is
    above the mean of the last ten.

    Source: Yao, Mao & Luo (2019).
    """
    nodes = Nodes.of(data, inductive=inductive, say=say)
    adjacency, size = nodes.graph.adjacency, nodes.graph.documents
    everywhere, documents = SparseProduct(adjacency), SparseProduct(adjacency[:size])
    torch.manual_seed(seed)
    model = TextGCN(adjacency.shape[0], len(data.names))
    training, checking = nodes.labelled("train"), nodes.labelled("validation")
    epochs = train_full_batch(model, lambda: model(everywhere, documents), nodes.labels, training, checking)
    say(f"stopped after {epochs} epochs")
    with torch.no_grad():
        logits = model(everywhere, documents)
    found = {split: logits[nodes.rows[split]] for split in nodes.scored}
    for split, words in nodes.outside.items():
        found[split] = model.of_new(everywhere, nodes.graph.rows(words), nodes.graph.loops(words))
    return {split: values.double().numpy() for split, values in found.items()}


def train_full_batch(
    model: nn.Module,
    logits_of: Callable[[], Tensor],
    labels: Int[Tensor, " n"],
    training: Int[Tensor, " t"],
    checking: Int[Tensor, " v"],
) -> int:
    """Train a convolution as in the paper, by the loss of some nodes until that of others gets no better.

    Args:
        model: what is trained.
        logits_of: gives the (n, C) logits of all documents.
        labels: (n,) classes.
        training: nodes whose loss is minimized.
        checking: nodes whose loss is watched.

    Returns:
        The number of epochs, each one step.
    """
    optimizer = torch.optim.Adam(model.parameters(), lr=RATE)
    losses: list[float] = []
    for epoch in range(1, EPOCHS + 1):
        model.train()
        optimizer.zero_grad()
        nn.functional.cross_entropy(logits_of()[training], labels[training]).backward()
        optimizer.step()
        model.eval()
        with torch.no_grad():
            losses.append(float(nn.functional.cross_entropy(logits_of()[checking], labels[checking])))
        if epoch > PATIENCE and losses[-1] > np.mean(losses[-PATIENCE - 1 : -1]):
            return epoch
    return EPOCHS
