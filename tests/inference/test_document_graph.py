"""New documents beside the training documents, and what these hand to them."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from graphloss.data.documents import Documents
from graphloss.errors import InputError
from graphloss.graph import induction, propagate
from graphloss.graph.induction import class_shares, kernel_mass, one_hot
from graphloss.inference import index as index_module
from graphloss.inference import mixture as mixture_module
from graphloss.inference.document_graph import DocumentGraph, fit_graph
from graphloss.inference.index import Index, Similarities, Views
from graphloss.inference.mixture import Mixture
from graphloss.inference.votes import (
    Kernel,
    choose_kernel,
    left_out_votes,
    smoothed,
    spread,
    votes,
    votes_by_width,
    width_grids,
    without,
)
from tests.inference.corpus import NAMES, Corpus, corpus

ENCODER = "a fingerprint"
MIXTURE = Mixture(bandwidth=0.5, word_bandwidth=0.4, word_share=0.3, weight=1.0)


@pytest.fixture
def _coarse(monkeypatch: pytest.MonkeyPatch) -> None:
    """Few widths and shares are tried, and few pairs of them: choosing among many takes seconds."""
    monkeypatch.setattr(induction, "GRID", 3)
    monkeypatch.setattr(mixture_module, "BEST", 1)
    monkeypatch.setattr(mixture_module, "SHARES", (0.0, 0.5, 1.0))


def graph_and_views(mixture: Mixture = MIXTURE) -> tuple[DocumentGraph, Views]:
    """Thirty documents, and eight new ones, the third without a known word."""
    given, new = corpus(30, spread=0.5), corpus(8, spread=0.5, seed=1)
    new.documents.texts[2] = "nothing known"
    index = given.index()
    return DocumentGraph(index, mixture), index.views(new.documents, new.embeddings)


def softmax_rows(similarities: np.ndarray, bandwidth: float) -> Tensor:
    return torch.softmax(torch.from_numpy(similarities).double() / bandwidth**2, dim=1)


def noise(documents: int, seed: int) -> Corpus:
    """Embeddings and words that have nothing to do with the labels."""
    given, order = corpus(documents, seed=seed), np.random.default_rng(seed).permutation(documents)
    return given._replace(documents=given.documents.take(order.tolist()), embeddings=given.embeddings[order])


def honest_head(labels: list[int], sharpness: float, seed: int) -> Tensor:
    """Logits of a head that is right about as often as it claims to be."""
    generator = torch.Generator().manual_seed(seed)
    evidence = torch.nn.functional.one_hot(torch.tensor(labels), len(NAMES)) * sharpness**2
    return evidence + sharpness * torch.randn(len(labels), len(NAMES), generator=generator)


@pytest.mark.parametrize("bandwidth", [0.2, 0.6])
def test_over_embeddings_it_is_propagation_of_one_document_at_a_time(bandwidth: float) -> None:
    graph, views = graph_and_views(Mixture(bandwidth, 0.4, word_share=0.0, weight=1.0))
    labels = torch.cat([graph.index.labels, torch.tensor([-100])])
    got = graph.propagate(views).probabilities
    for row in range(8):
        points = torch.cat([graph.index.embeddings, views.embeddings[row : row + 1]])
        alone = propagate(points, labels, torch.arange(30), torch.tensor([30]), num_labels=3, bandwidth=bandwidth)
        torch.testing.assert_close(got[row], alone[0], atol=1e-5, rtol=1e-4)


def test_words_are_mixed_in_where_there_are_any() -> None:
    graph, views = graph_and_views()
    targets = one_hot(graph.index.labels, 3).double()
    by_embedding = softmax_rows((views.embeddings @ graph.index.embeddings.T).numpy(), 0.5) @ targets
    by_words = softmax_rows((views.words @ graph.index.words.T).toarray(), 0.4) @ targets
    expected = 0.7 * by_embedding + 0.3 * by_words
    expected[2] = by_embedding[2]
    torch.testing.assert_close(graph.propagate(views).probabilities.double(), expected, atol=1e-5, rtol=1e-4)


def test_of_its_own_documents_it_thinks_as_if_each_were_not_in_it() -> None:
    graph, _ = graph_and_views()
    index, logits = graph.index, torch.randn(30, 3, generator=torch.Generator().manual_seed(0))
    found = graph.opinions(logits)
    for row in (0, 17):
        others = DocumentGraph(index.take(torch.arange(30)[torch.arange(30) != row]), graph.mixture)
        alone = Views(index.embeddings[row : row + 1], index.words[row : row + 1])
        expected = graph.mixture.mix(logits[row : row + 1], others.propagate(alone).probabilities)
        torch.testing.assert_close(found[row : row + 1], expected, atol=1e-5, rtol=1e-4)


def test_mass_is_that_of_both_kernels() -> None:
    graph, views = graph_and_views()
    by_embedding = kernel_mass(views.embeddings @ graph.index.embeddings.T, 0.5)
    by_words = kernel_mass(torch.from_numpy((views.words @ graph.index.words.T).toarray()), 0.4)
    expected = 0.7 * by_embedding + 0.3 * by_words
    expected[2] = 0.7 * by_embedding[2]
    mass = graph.propagate(views).mass
    torch.testing.assert_close(mass, expected)
    torch.testing.assert_close(graph.reach(views).mass, mass)


def test_mass_is_small_where_nothing_is_alike() -> None:
    given, new = corpus(30, spread=0.1), corpus(8, spread=0.1, seed=1)
    graph = DocumentGraph(given.index(), MIXTURE)
    strange = graph.index.views(Documents(["nothing known"]), torch.eye(8)[7:])
    mass = graph.propagate(graph.index.views(new.documents, new.embeddings)).mass
    assert float(graph.propagate(strange).mass) < 0.1 * float(mass.amin())


@pytest.mark.parametrize("word_share", [0.0, 0.3, 1.0])
def test_reach_adds_up_to_one_and_to_what_is_propagated(word_share: float) -> None:
    graph, views = graph_and_views(Mixture(0.5, 0.4, word_share, weight=1.0))
    reach = graph.reach(views)
    shares = reach.embeddings + reach.words
    torch.testing.assert_close(shares.sum(1), torch.ones(8))
    told = class_shares(shares, one_hot(graph.index.labels, 3))
    torch.testing.assert_close(told, graph.propagate(views).probabilities)
    assert (reach.words[2] == 0.0).all()
    torch.testing.assert_close(reach.words.sum(1)[3:], torch.full((5,), word_share))


def test_documents_are_told_the_same_in_tiles(monkeypatch: pytest.MonkeyPatch) -> None:
    graph, views = graph_and_views()
    whole = graph.propagate(views)
    monkeypatch.setattr(index_module, "TILE", 90)
    for got, expected in zip(graph.propagate(views), whole, strict=True):
        torch.testing.assert_close(got, expected, rtol=1e-6, atol=1e-6)


def test_the_nearest_documents_tell_nearly_all(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("faiss")
    graph, views = graph_and_views(Mixture(0.3, 0.2, 0.3, weight=1.0))
    exact, reached = graph.propagate(views), graph.reach(views)
    monkeypatch.setattr(index_module, "EXACT", 0)
    monkeypatch.setattr(index_module, "NEAREST", 29)
    graph.index.nearest.nprobe = graph.index.nearest.nlist
    for got, expected in zip(graph.propagate(views), exact, strict=True):
        torch.testing.assert_close(got, expected, atol=2e-2, rtol=2e-2)
    near = graph.reach(views)
    torch.testing.assert_close(near.embeddings, reached.embeddings, atol=1e-3, rtol=1e-2)
    torch.testing.assert_close((near.embeddings + near.words).sum(1), torch.ones(8))


def test_votes_of_documents_that_were_found_by_hand() -> None:
    """The second document has found nobody."""
    values = torch.tensor([[0.5, 0.5], [-torch.inf, -torch.inf]])
    found = Similarities(values, torch.tensor([[3, 1], [0, 0]]))
    targets = one_hot(torch.tensor([0, 1, 0, 2]), 3)
    assert votes(found, 0.3, targets).tolist() == [[0.0, 0.5, 0.5], [0.0, 0.0, 0.0]]
    rows = torch.tensor([[0.75, 0.25], [0.0, 0.0]])
    assert spread(found, rows, 4).tolist() == [[0.0, 0.25, 0.0, 0.75], [0.0, 0.0, 0.0, 0.0]]


def test_who_is_left_out_is_not_asked() -> None:
    values, own = torch.tensor([[0.1, 0.2], [0.3, 0.4]]), torch.tensor([1, 0])
    assert torch.equal(without(Similarities(values, None), None).values, values)
    left_out = without(Similarities(values, None), own).values
    torch.testing.assert_close(left_out, torch.tensor([[0.1, -torch.inf], [-torch.inf, 0.4]]))
    found = Similarities(values, torch.tensor([[5, 1], [2, 3]]))
    torch.testing.assert_close(without(found, own).values, torch.tensor([[0.1, -torch.inf], [0.3, 0.4]]))


def test_leaving_a_document_out_is_an_index_without_it() -> None:
    given = corpus(15, spread=0.5)
    index, widths = given.index(), [0.2, 0.5]
    rows = torch.tensor([4, 0, 11])
    own = Views(index.embeddings[rows], index.words[rows.numpy()])
    got, _ = votes_by_width(index, own, widths, [0.4], themselves=rows)
    assert got.shape == (2, 3, 3)
    for place, row in enumerate(rows.tolist()):
        rest = given.take([other for other in range(15) if other != row]).index()
        alone = rest.views(given.documents.take([row]), given.embeddings[[row]])
        expected, _ = votes_by_width(rest, alone, widths, [0.4])
        torch.testing.assert_close(got[:, place], expected[:, 0])


def test_votes_by_width_are_the_votes_of_each_width(monkeypatch: pytest.MonkeyPatch) -> None:
    graph, views = graph_and_views()
    targets, widths, word_widths = one_hot(graph.index.labels, 3), [0.2, 0.5, 0.9], [0.3, 0.6]
    monkeypatch.setattr(index_module, "TILE", 90)
    by_embedding, by_words = votes_by_width(graph.index, views, widths, word_widths)
    for width, got in zip(widths, by_embedding, strict=True):
        torch.testing.assert_close(got, votes(graph.index.by_embedding(views), width, targets))
    for width, got in zip(word_widths, by_words, strict=True):
        torch.testing.assert_close(got, votes(graph.index.by_words(views), width, targets))
    assert (by_words[:, 2] == 0.0).all()


def partly_labelled() -> Index:
    """Thirty documents, every fifth of them without a label; nothing is known of those."""
    given = corpus(30, spread=0.2)
    labels = [-100 if row % 5 == 1 else label for row, label in enumerate(given.labels)]
    opinions = torch.full((30, 3), 1.0 / 3.0)
    return Index.build(given.documents, labels, NAMES, given.embeddings, opinions=opinions)[0]


@pytest.mark.parametrize("word_share", [0.0, 0.3])
def test_what_is_told_to_documents_of_the_index_by_all_others(
    word_share: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    index, kernel = partly_labelled(), Kernel(0.5, 0.4, word_share)
    near = (index.embeddings @ index.embeddings.T).fill_diagonal_(-torch.inf)
    words = torch.from_numpy((index.words @ index.words.T).toarray()).fill_diagonal_(-torch.inf)
    rows = (1 - word_share) * softmax_rows(near.numpy(), 0.5) + word_share * softmax_rows(words.numpy(), 0.4)
    expected = (rows @ index.targets.double()).float()
    monkeypatch.setattr(index_module, "TILE", 90)
    torch.testing.assert_close(left_out_votes(index, kernel), expected, atol=1e-5, rtol=1e-4)
    some = torch.tensor([11, 4, 29])
    torch.testing.assert_close(left_out_votes(index, kernel, some), expected[some], atol=1e-5, rtol=1e-4)


def test_documents_without_a_label_tell_what_they_are_told() -> None:
    index = partly_labelled()
    after, unlabelled = smoothed(index), torch.nonzero(index.labels < 0)[:, 0]
    assert torch.equal(after.targets[index.labelled], index.targets[index.labelled])
    told = left_out_votes(index, choose_kernel(index))
    torch.testing.assert_close(after.targets[unlabelled], told[unlabelled])
    torch.testing.assert_close(after.targets.sum(1), torch.ones(30))
    assert after.targets.argmax(1).tolist() == [row % 3 for row in range(30)]
    assert (index.targets[unlabelled] == 1.0 / 3.0).all()


def test_where_all_have_a_label_nothing_is_smoothed() -> None:
    index = corpus(12).index()
    assert smoothed(index) is index


def test_the_kernel_is_the_likeliest_of_the_grid_for_embeddings() -> None:
    index = corpus(60, spread=0.6).index()
    truth, everybody = index.labels[:, None], torch.arange(60)
    widths, _ = width_grids(index, Views(index.embeddings, index.words))
    own = Views(index.embeddings, index.words)
    shares, _ = votes_by_width(index, own, widths, [1.0], themselves=everybody)
    likelihoods = [float((each.gather(1, truth) + mixture_module.LEAST).log().mean()) for each in shares]
    assert choose_kernel(index).bandwidth == pytest.approx(widths[int(np.argmax(likelihoods))], rel=1e-3)


def test_widths_worth_trying_ascend_for_both_affinities() -> None:
    graph, views = graph_and_views()
    for grid in width_grids(graph.index, views):
        assert grid == sorted(set(grid))
        assert 0.0 < grid[0] < grid[-1] < 2.0


@pytest.mark.usefixtures("_coarse")
@pytest.mark.parametrize("own", [False, True])
@pytest.mark.parametrize("seed", range(3))
def test_noise_beside_a_good_head_gets_no_weight(own: bool, seed: int) -> None:
    given, new = noise(60, seed), noise(200, seed + 50)
    index = given.index()
    graph = fit_graph(
        index,
        validation=index.views(new.documents, new.embeddings),
        logits=honest_head(new.labels, 2.0, seed),
        labels=torch.tensor(new.labels),
        left_out=honest_head(given.labels, 2.0, seed + 9) if own else None,
    )
    assert graph.mixture.weight == 0.0


@pytest.mark.usefixtures("_coarse")
@pytest.mark.parametrize("own", [False, True])
def test_a_graph_that_tells_more_than_the_head_gets_weight(own: bool) -> None:
    given, new = corpus(60, spread=0.2), corpus(100, spread=0.2, seed=1)
    index = given.index()
    logits, truth = honest_head(new.labels, 0.7, 0), torch.tensor(new.labels)
    graph = fit_graph(
        index,
        validation=index.views(new.documents, new.embeddings),
        logits=logits,
        labels=truth,
        left_out=honest_head(given.labels, 0.7, 9) if own else None,
    )
    assert graph.mixture.weight > 0.5
    assert graph.evidence["documents"] == 100
    assert graph.evidence["head"] == pytest.approx(float((logits.argmax(1) == truth).double().mean()))
    assert graph.evidence["with_graph"] > 0.95 > graph.evidence["head"]
    assert graph.evidence["gain"] > 3.0 * graph.evidence["error"] > 0.0
    source = "60 training documents, each left out" if own else "100 validation documents"
    assert graph.evidence["chosen_on"] == source


@pytest.mark.usefixtures("_coarse")
def test_validation_documents_without_a_label_do_not_choose() -> None:
    given, new = corpus(60), corpus(40, seed=1)
    index = given.index()
    labels, logits = torch.tensor(new.labels), honest_head(new.labels, 0.7, 0)
    hidden = labels.clone()
    hidden[30:] = -100
    nonsense = logits.clone()
    nonsense[30:] = 1e4
    views = index.views(new.documents, new.embeddings)
    one, other = (fit_graph(index, validation=views, logits=each, labels=hidden) for each in (logits, nonsense))
    assert one == other
    assert one.evidence["documents"] == 30


@pytest.mark.usefixtures("_coarse")
def test_validation_documents_choose_where_the_index_holds_some_without_a_label() -> None:
    index, new = partly_labelled(), corpus(40, spread=0.2, seed=1)
    left_out = honest_head([row % 3 for row in range(30)], 0.7, 9)
    one, other = (
        fit_graph(
            index,
            validation=index.views(new.documents, new.embeddings),
            logits=honest_head(new.labels, 0.7, 0),
            labels=torch.tensor(new.labels),
            left_out=each,
        )
        for each in (left_out, None)
    )
    assert one.evidence["chosen_on"] == "40 validation documents"
    assert (one.mixture, one.threshold, one.evidence) == (other.mixture, other.threshold, other.evidence)


@pytest.mark.usefixtures("_coarse")
@pytest.mark.parametrize("coverage", [0.5, 0.9, 1.0])
def test_the_share_of_validation_documents_with_enough_mass_is_the_coverage(coverage: float) -> None:
    given, new = corpus(30), corpus(100, seed=1)
    index = given.index()
    views = index.views(new.documents, new.embeddings)
    graph = fit_graph(
        index,
        validation=views,
        logits=honest_head(new.labels, 0.7, 0),
        labels=torch.tensor(new.labels),
        left_out=honest_head(given.labels, 0.7, 9),
        coverage=coverage,
    )
    answered = graph.propagate(views).mass >= graph.threshold
    assert float(answered.double().mean()) == pytest.approx(coverage)
    assert graph.coverage == coverage


def test_a_graph_that_was_read_back_is_the_same(tmp_path: Path) -> None:
    graph, views = graph_and_views()
    graph.threshold, graph.coverage, graph.evidence = 0.25, 0.8, {"chosen_on": "nothing", "head": 0.5}
    graph.save(tmp_path / "index", ENCODER)
    read = DocumentGraph.load(tmp_path / "index", ENCODER)
    assert (read.mixture, read.threshold, read.coverage) == (MIXTURE, 0.25, 0.8)
    assert read.evidence == graph.evidence
    for got, expected in zip(read.propagate(views), graph.propagate(views), strict=True):
        assert torch.equal(got, expected)
    assert json.loads((tmp_path / "index" / "mixture.json").read_text())["mixture"]["bandwidth"] == 0.5


def test_no_graph_to_read(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="keeps no index"):
        DocumentGraph.load(tmp_path / "index", ENCODER)
