"""Which documents are nodes of the graph of a system, and which are not."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from graphloss.run.documents import LabelledSplits
from graphloss.systems.cleaning import clean, split_words
from graphloss.systems.word_graph import WordGraph


class Nodes(NamedTuple):
    """Documents in the graph, and those that it is asked about.

    Attributes:
        graph: of n documents and their words.
        rows: by split, the nodes of the documents in the graph.
        labels: (n,) classes, -100 for none; those of validation and test documents are never trained on.
        outside: by split, the words of the documents that are not in the graph.
    """

    graph: WordGraph
    rows: dict[str, Int[Tensor, " _"]]
    labels: Int[Tensor, " n"]
    outside: dict[str, list[list[str]]]

    @classmethod
    def of(cls, data: LabelledSplits, *, inductive: bool, say: Callable[[str], None]) -> "Nodes":
        """Build the graph of the documents.

        Args:
            data: the documents.
            inductive: leave the test documents out of it.
            say: told how large it is.
        """
        inside = ["train", *(split for split in data.scored if not (inductive and split == "test"))]
        texts = {split: data.documents(split).whole_texts for split in data.ids}
        graph = WordGraph.build(clean([text for split in inside for text in texts[split]]))
        edges = (graph.adjacency.nnz - graph.adjacency.shape[0]) // 2
        say(f"a graph of {graph.documents:,} documents and {len(graph.vocabulary):,} words with {edges:,} edges")
        ends = np.cumsum([len(texts[split]) for split in inside])
        rows = np.split(np.arange(graph.documents), ends[:-1])
        labels = torch.tensor([label for split in inside for label in data.ids[split]])
        outside = {split: [split_words(text) for text in texts[split]] for split in data.scored if split not in inside}
        return cls(graph, dict(zip(inside, map(torch.from_numpy, rows), strict=True)), labels, outside)

    @property
    def scored(self) -> list[str]:
        """The splits in the graph that are scored."""
        return [split for split in self.rows if split != "train"]

    def labelled(self, split: str) -> Int[Tensor, " _"]:
        """The nodes of a split that have a label."""
        rows = self.rows[split]
        return rows[self.labels[rows] >= 0]
