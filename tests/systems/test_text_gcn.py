"""TextGCN on texts that words tell apart."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from graphloss.data.documents import Documents
from graphloss.data.splits import Splits
from graphloss.run.documents import LabelledSplits
from graphloss.systems.sparse_product import SparseProduct
from graphloss.systems.text_gcn import TextGCN, text_gcn
from graphloss.systems.word_graph import WordGraph
from tests.conftest import sentences


def data(**other: Documents) -> LabelledSplits:
    parts = {}
    for split, size, seed in (("train", 60, 1), ("validation", 24, 2), ("test", 24, 3)):
        parts[split] = Documents(*sentences(size, seed), source=split)
    return LabelledSplits.of(Splits(**parts | other), lambda line: None)


@pytest.mark.parametrize("inductive", [False, True])
def test_it_learns(inductive: bool) -> None:
    given, said = data(), []
    logits = text_gcn(given, seed=0, inductive=inductive, say=said.append)
    for split in ("validation", "test"):
        assert np.mean(logits[split].argmax(axis=1) == given.ids[split]) > 0.8
    assert said[0].startswith("a graph of 84 documents" if inductive else "a graph of 108 documents")


def test_only_the_inductive_one_does_not_look_at_test_texts() -> None:
    given = data()
    assert given.splits.test is not None
    other = data(test=replace(given.splits.test, texts=["the soup"] * 24))
    for inductive in (True, False):
        one, two = (text_gcn(each, seed=0, inductive=inductive)["validation"] for each in (given, other))
        assert np.array_equal(one, two) == inductive


def test_a_new_document_is_one_of_the_graph_whose_own_node_is_nothing() -> None:
    texts = [text.split() for text in sentences(12)[0]]
    graph = WordGraph.build(texts)
    everywhere, documents = SparseProduct(graph.adjacency), SparseProduct(graph.adjacency[: graph.documents])
    model = TextGCN(graph.adjacency.shape[0], 3).eval()
    with torch.no_grad():
        model.nodes[:12] = 0.0
    expected = model(everywhere, documents)
    torch.testing.assert_close(model.of_new(everywhere, graph.rows(texts), graph.loops(texts)), expected)


def test_gradients_through_sparse_products() -> None:
    matrix = WordGraph.build([text.split() for text in sentences(6)[0]]).adjacency[:4].astype(np.float64)
    product = SparseProduct(matrix)
    dense = torch.randn(matrix.shape[1], 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(product, dense)
