"""TextGCN: a graph convolution over documents and words."""

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from scipy.sparse import csr_matrix, diags_array
from torch import Tensor, nn

from graphloss.run.documents import LabelledSplits
from graphloss.systems.cleaning import clean
from graphloss.systems.word_graph import WordGraph

HIDDEN, DROPOUT, RATE, EPOCHS, PATIENCE = 200, 0.5, 0.02, 200, 10  # of the paper


class SparseProduct:
    """A constant sparse matrix, to be multiplied with dense ones that have a gradient."""

    def __init__(self, matrix: csr_matrix) -> None:
        self.matrix, self.transposed = _tensor(matrix), _tensor(csr_matrix(matrix.T))

    def __call__(self, dense: Float[Tensor, "m d"]) -> Float[Tensor, "n d"]:
        """The product of the (n, m) matrix and an (m, d) one."""
        return _Product.apply(self.matrix, self.transposed, dense)


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
    inside = ["train", *(split for split in data.scored if not (inductive and split == "test"))]
    sizes = [len(data.documents(split)) for split in data.ids]
    words = clean([text for split in data.ids for text in data.documents(split).whole_texts])
    by_split = dict(zip(data.ids, np.split(np.arange(len(words)), np.cumsum(sizes)[:-1]), strict=True))
    graph = WordGraph.build([words[row] for split in inside for row in by_split[split]])
    edges = (graph.adjacency.nnz - graph.adjacency.shape[0]) // 2
    say(f"a graph of {graph.documents:,} documents and {len(graph.vocabulary):,} words with {edges:,} edges")
    everywhere, documents = SparseProduct(graph.adjacency), SparseProduct(graph.adjacency[: graph.documents])
    torch.manual_seed(seed)
    model = TextGCN(graph.adjacency.shape[0], len(data.names))
    labels = torch.tensor([label for split in inside for label in data.ids[split]])
    training, checking = (
        torch.from_numpy(by_split[split][np.asarray(data.ids[split]) >= 0]) for split in ("train", "validation")
    )
    epochs = _train(model, lambda: model(everywhere, documents), labels, training, checking)
    say(f"stopped after {epochs} epochs")
    model.eval()
    with torch.no_grad():
        logits = model(everywhere, documents).double().numpy()
    found = {split: logits[by_split[split]] for split in inside if split != "train"}
    if inductive and "test" in data.ids:
        texts = [words[row] for row in by_split["test"]]
        found["test"] = model.of_new(everywhere, graph.rows(texts), graph.loops(texts)).double().numpy()
    return found


def _train(
    model: nn.Module,
    logits_of: Callable[[], Tensor],
    labels: Int[Tensor, " n"],
    training: Int[Tensor, " t"],
    checking: Int[Tensor, " v"],
) -> int:
    """Train by the loss of some nodes until that of others gets no better; gives the number of epochs."""
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


class _Product(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, matrix: Tensor, transposed: Tensor, dense: Tensor) -> Tensor:
        ctx.transposed = transposed
        return matrix @ dense

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[None, None, Tensor]:
        return None, None, ctx.transposed @ gradients[0]


def _tensor(matrix: csr_matrix) -> Tensor:
    starts, columns, values = (torch.from_numpy(part) for part in (matrix.indptr, matrix.indices, matrix.data))
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Sparse CSR tensor support is in beta state")
        return torch.sparse_csr_tensor(starts, columns, values, size=matrix.shape, check_invariants=True)
