"""The convolution over embeddings of documents, and its mixture with the classifier."""

import torch

from graphloss.systems.bert_gcn import GCN_SHARE, EmbeddingGCN, mixed
from graphloss.systems.sparse_product import SparseProduct
from graphloss.systems.word_graph import WordGraph
from tests.conftest import sentences


def test_words_hand_on_what_documents_told_them() -> None:
    """As two dense convolutions over all nodes, where words have no features."""
    torch.manual_seed(0)
    graph = WordGraph.build([text.split() for text in sentences(12)[0]])
    adjacency = torch.from_numpy(graph.adjacency.toarray())
    model, embeddings = EmbeddingGCN(5, 3).eval(), torch.randn(12, 5)
    everywhere = torch.cat([embeddings, torch.zeros(len(adjacency) - 12, 5)])
    hidden = torch.relu(adjacency @ everywhere @ model.first.weight.T + model.first.bias)
    expected = (adjacency @ hidden @ model.second.weight.T + model.second.bias)[:12]
    outward, inward = SparseProduct(graph.adjacency[:, :12].tocsr()), SparseProduct(graph.adjacency[:12])
    torch.testing.assert_close(model(embeddings, outward, inward), expected)


def test_probabilities_are_mixed_not_logits() -> None:
    logits, by_graph = torch.randn(4, 3), 3.0 * torch.randn(4, 3)
    expected = GCN_SHARE * by_graph.softmax(dim=1) + (1 - GCN_SHARE) * logits.softmax(dim=1)
    torch.testing.assert_close(mixed(logits, by_graph).exp(), expected)
