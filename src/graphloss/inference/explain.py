"""Why the graph says what it says: the labelled documents whose labels a document received, and their exact shares."""

from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from graphloss.data.documents import Documents
from graphloss.graph.induction import class_shares, company_rows, walk_rows
from graphloss.inference.classifier import TrainedClassifier
from graphloss.inference.document_graph import DocumentGraph, Reach
from graphloss.inference.index import Views


def shares_of(graph: DocumentGraph, views: Views, *, together: bool = False) -> Reach:
    """The exact shares of the labelled documents in what the graph says of n others.

    For a document on its own they are its row of P_ul. Documents that are looked at together also hear of labels from
    each other: their rows are those of (I - P_uu)^-1 P_ul.

    Args:
        graph: of a run.
        views: of n documents.
        together: let the n documents be nodes of one graph.
    """
    reach = graph.reach(views)
    return _in_company(graph, views, reach.mass) if together and len(views.embeddings) > 1 else reach


def explain(
    classifier: TrainedClassifier, documents: Documents, *, top: int = 10, together: bool = False, batch_size: int = 64
) -> list[dict[str, Any]]:
    """Explain the predictions for documents.

    Args:
        classifier: with a document graph.
        documents: n documents.
        top: neighbours listed for each; the others' share is given as one number. 0 lists all.
        together: see `shares_of`.
        batch_size: texts embedded at once.

    Returns:
        For each document: text; prediction and probability, of head and graph together; head, graph and mixed, the
        probabilities of the classes; mass, the kernel mass to the labelled documents, and abstained; weight, the
        exponent of the graph in the mixture; neighbours, with row (from 0, in the index), text, label, share and its
        parts embedding_share and word_share; others, what remains. The shares add up to one and, by class, to what the
        graph says. A training document without a label has none (null), and tells the class that its own neighbours
        make most likely.
    """
    graph = classifier.graph
    answers = classifier.answer(documents, batch_size)
    views = graph.index.views(documents, answers.embeddings)
    reach = shares_of(graph, views, together=together)
    said = class_shares(reach.embeddings + reach.words, graph.index.targets)
    head = torch.softmax(answers.logits.double(), dim=1).numpy()
    mixed = graph.mixture.mix(answers.logits, said).numpy()
    names = classifier.names

    def by_class(row: np.ndarray) -> dict[str, float]:
        return dict(zip(names, row.tolist(), strict=True))

    return [
        {
            "text": text,
            "prediction": names[int(mixed[row].argmax())],
            "probability": float(mixed[row].max()),
            "head": by_class(head[row]),
            "graph": by_class(said[row].numpy()),
            "mixed": by_class(mixed[row]),
            "weight": graph.mixture.weight,
            "mass": float(reach.mass[row]),
            "abstained": bool(reach.mass[row] < graph.threshold),
            **_neighbours(graph, reach, row, top),
        }
        for row, text in enumerate(documents.texts)
    ]


def _neighbours(graph: DocumentGraph, reach: Reach, row: int, top: int) -> dict[str, Any]:
    by_embedding, by_words = reach.embeddings[row].numpy(), reach.words[row].numpy()
    total = by_embedding + by_words
    order = _largest(total, top)
    listed = [
        {
            "row": number,
            "text": graph.index.documents.texts[number],
            "label": graph.index.names[label] if (label := int(graph.index.labels[number])) >= 0 else None,
            "tells": graph.index.names[int(graph.index.targets[number].argmax())],
            "share": float(total[number]),
            "embedding_share": float(by_embedding[number]),
            "word_share": float(by_words[number]),
        }
        for number in order.tolist()
    ]
    others = float(total.sum(dtype=np.float64) - total[order].sum(dtype=np.float64))
    return {"neighbours": listed, "others": max(others, 0.0)}


def _largest(values: Float[np.ndarray, " N"], top: int) -> Int[np.ndarray, " _"]:
    if not 0 < top < len(values):
        return values.argsort()[::-1]
    chosen = np.argpartition(-values, top)[:top]
    return chosen[(-values[chosen]).argsort(kind="stable")]


def _in_company(graph: DocumentGraph, views: Views, mass: Tensor) -> Reach:
    """Shares over the embeddings and over the words where documents hear from each other, too."""
    mixture, index = graph.mixture, graph.index
    size = len(views.embeddings)
    own = torch.arange(size)
    cosines = torch.cat([views.embeddings @ views.embeddings.T, views.embeddings @ index.embeddings.T], dim=1)
    products = [(views.words @ others.T).toarray() for others in (views.words, index.words)]
    alike = torch.from_numpy(np.concatenate(products, axis=1))
    alike[(alike[own] == 0).all(dim=1)] = -torch.inf
    for similarities in (cosines, alike):
        similarities[own, own] = -torch.inf
    rows = walk_rows(cosines, mixture.bandwidth), walk_rows(alike, mixture.word_bandwidth)
    share = torch.where(rows[1].sum(dim=1, keepdim=True) > 0, mixture.word_share, 0.0)
    by_embedding, by_words = rows[0] * (1.0 - share), rows[1] * share
    among = by_embedding[:, :size] + by_words[:, :size]
    embeddings, words = company_rows(among, [by_embedding[:, size:], by_words[:, size:]])
    return Reach(embeddings, words, mass)
