"""The convolution over embeddings of documents, and its mixture with the classifier."""

from pathlib import Path

import torch

from graphloss.run import RunConfig
from graphloss.run.documents import LabelledSplits, read_documents_of
from graphloss.systems.bert_gcn import GCN_SHARE, EmbeddingGCN, bert_gcn, mixed
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


def test_the_convolution_has_learned_before_the_encoder_joins_it(
    data: Path, encoders: dict[str, Path], tmp_path: Path
) -> None:
    flags = {
        "max_length": 16,
        "num_train_epochs": 1,
        "pooling": "mean",
        "learning_rate": 1e-3,
        "use_cpu": True,
        "seed": 1,
    }
    given = {"data": str(data), "encoder": str(encoders["bert"]), "output_dir": str(tmp_path / "run")}
    config = RunConfig.of(given | flags | {"per_device_train_batch_size": 8})
    lines: list[str] = []
    bert_gcn(config, LabelledSplits.of(read_documents_of(config, lines.append), lines.append), lines.append)
    alone = next(line for line in lines if "steps of the graph alone" in line)
    assert float(alone.rpartition(" ")[2]) > 0.9, alone
