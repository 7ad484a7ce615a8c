"""How much of the graph goes into a prediction."""

import dataclasses
import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from graphloss.inference.mixture import (
    CAUTION,
    LEAST,
    MOST,
    SHARES,
    USUAL,
    HeldOut,
    Mixture,
    choose,
    log_opinion,
    mixed_shares,
)

CLASSES, MANY = 3, 1_500
WIDTHS, WORD_WIDTHS = [0.1, 0.2, 0.4], [0.3, 0.6]


def truth(documents: int = 60) -> Tensor:
    return torch.arange(documents) % CLASSES


def opinion(labels: Tensor, strength: float, seed: int) -> Tensor:
    """Distributions that favour the labels, the more the larger the strength."""
    noise = torch.randn(len(labels), CLASSES, generator=torch.Generator().manual_seed(seed))
    return torch.softmax(strength * torch.nn.functional.one_hot(labels, CLASSES) + noise, dim=1)


def held_out(logits: Tensor, embeddings: list[Tensor] | None = None, words: list[Tensor] | None = None) -> HeldOut:
    uniform = torch.full_like(logits, 1.0 / CLASSES)
    return HeldOut(
        logits,
        torch.stack(embeddings or [uniform] * len(WIDTHS)),
        torch.stack(words or [uniform] * len(WORD_WIDTHS)),
        truth(len(logits)),
        WIDTHS,
        WORD_WIDTHS,
    )


def loss(probabilities: Tensor, labels: Tensor) -> float:
    return -float(probabilities.gather(1, labels[:, None]).log().mean())


def cost(given: HeldOut, mixture: Mixture) -> float:
    """The negative log-likelihood, and for each exponent the rounded distance of its logarithm from the usual one."""
    off = [math.log(exponent / USUAL) for exponent in (mixture.weight, mixture.head_weight)]
    penalty = sum(math.hypot(each, 0.1) for each in off) * CAUTION / len(given.labels)
    return loss(given.probabilities(mixture), given.labels) + penalty


def test_two_opinions_are_multiplied_by_hand() -> None:
    mixture = Mixture(1.0, 1.0, 0.0, weight=2.0, head_weight=0.5)
    propagated = torch.tensor([[0.25, 0.75]])
    got = mixture.mix(torch.tensor([[0.8, 0.2]]).log(), propagated)
    graph = [(share + LEAST) / (1.0 + 2.0 * LEAST) for share in (0.25, 0.75)]
    first, second = 0.8**0.5 * graph[0] ** 2, 0.2**0.5 * graph[1] ** 2
    assert got[0].tolist() == pytest.approx([first / (first + second), second / (first + second)])
    assert got.dtype == torch.float64


def test_weight_zero_is_the_head_untouched() -> None:
    logits = torch.randn(20, CLASSES, generator=torch.Generator().manual_seed(0))
    mixture = Mixture(0.1, 0.3, 0.5, weight=0.0, head_weight=0.3)
    assert torch.equal(mixture.mix(logits, opinion(truth(20), 5.0, 1)), torch.softmax(logits.double(), dim=1))


@settings(max_examples=50, deadline=None)
@given(st.floats(0, 10), st.floats(0, 10), st.integers(0, 99))
def test_mixtures_are_distributions(weight: float, head_weight: float, seed: int) -> None:
    logits = 20.0 * torch.randn(8, CLASSES, generator=torch.Generator().manual_seed(seed))
    propagated = torch.nn.functional.one_hot(truth(8), CLASSES).float()
    propagated[0] = 0.0
    got = Mixture(1.0, 1.0, 0.0, weight, head_weight).mix(logits, propagated)
    assert (got >= 0).all()
    torch.testing.assert_close(got.sum(1), torch.ones(8, dtype=torch.float64))


def test_the_graph_rules_no_class_out() -> None:
    log_shares = log_opinion(torch.tensor([[1.0, 0.0, 0.0], [0.2, 0.3, 0.5]]))
    assert log_shares.isfinite().all()
    torch.testing.assert_close(log_shares.exp().sum(1), torch.ones(2, dtype=torch.float64))
    assert log_shares[0, 1].exp().item() == pytest.approx(LEAST / (1.0 + 3.0 * LEAST))


def test_shares_are_mixed_but_where_words_are_silent() -> None:
    embeddings = torch.tensor([[0.5, 0.5], [0.2, 0.8]])
    words = torch.tensor([[1.0, 0.0], [0.0, 0.0]])
    torch.testing.assert_close(mixed_shares(embeddings, words, 0.3), torch.tensor([[0.65, 0.35], [0.2, 0.8]]))
    assert torch.equal(mixed_shares(embeddings, words, 0.0), embeddings)
    assert torch.equal(mixed_shares(embeddings, words, 1.0), torch.tensor([[1.0, 0.0], [0.2, 0.8]]))


def test_some_of_the_documents() -> None:
    all_of_them = held_out(
        opinion(truth(), 1.0, 0).log(),
        [opinion(truth(), 1.0, seed) for seed in (1, 2, 3)],
        [opinion(truth(), 1.0, seed) for seed in (4, 5)],
    )
    rows = torch.tensor([5, 2])
    some = all_of_them.take(rows)
    assert torch.equal(some.logits, all_of_them.logits[rows])
    assert torch.equal(some.labels, torch.tensor([2, 2]))
    assert (some.embeddings.shape, some.words.shape) == ((3, 2, CLASSES), (2, 2, CLASSES))
    mixture = Mixture(0.2, 0.6, 0.3, 0.8, 1.1)
    torch.testing.assert_close(some.probabilities(mixture), all_of_them.probabilities(mixture)[rows])


def test_propagated_shares_are_those_of_the_widths_of_the_mixture() -> None:
    embeddings = [opinion(truth(), 1.0, seed) for seed in (1, 2, 3)]
    words = [opinion(truth(), 1.0, seed) for seed in (4, 5)]
    got = held_out(torch.zeros(60, CLASSES), embeddings, words).propagated(Mixture(0.4, 0.3, 0.15, 1.0))
    torch.testing.assert_close(got, 0.85 * embeddings[2] + 0.15 * words[0])


def test_a_useless_graph_changes_no_prediction() -> None:
    given = held_out(opinion(truth(), 2.0, 0).log())
    mixture = choose(given)
    assert torch.equal(given.probabilities(mixture).argmax(1), given.logits.argmax(1))
    assert mixture.weight == pytest.approx(USUAL, rel=1e-3)


def test_a_misleading_graph_has_hardly_a_say() -> None:
    wrong = opinion((truth(MANY) + 1) % CLASSES, 3.0, 1)
    assert choose(held_out(opinion(truth(MANY), 1.0, 0).log(), [wrong] * 3, [wrong] * 2)).weight < 0.05


def test_a_perfect_graph_beside_a_random_head_has_all_the_say() -> None:
    perfect = 0.6 * torch.nn.functional.one_hot(truth(MANY), CLASSES).float() + 0.4 / CLASSES
    even = torch.full_like(perfect, 1.0 / CLASSES)
    given = held_out(opinion(truth(MANY), 0.0, 0).log(), [even, perfect, even])
    mixture = choose(given)
    assert mixture.bandwidth == 0.2
    assert MOST >= mixture.weight > 5.0 * mixture.head_weight
    assert torch.equal(given.probabilities(mixture).argmax(1), given.labels)


def test_a_few_documents_move_the_exponents_less_than_many() -> None:
    off = []
    for documents in (3, 30, 300, MANY):
        perfect = 0.6 * torch.nn.functional.one_hot(truth(documents), CLASSES).float() + 0.4 / CLASSES
        off.append(choose(held_out(torch.zeros(documents, CLASSES), [perfect] * 3)).weight / USUAL)
    assert off == sorted(off)
    assert 1.0 < off[0] < 2.0 < off[-1]


@pytest.mark.parametrize("informative", [0, 1, 2])
def test_the_width_that_tells_most_is_chosen_among_embeddings(informative: int) -> None:
    told = [opinion(truth(), 3.0 if place == informative else 0.3, place) for place in range(3)]
    mixture = choose(held_out(opinion(truth(), 0.5, 7).log(), told))
    assert mixture.bandwidth == WIDTHS[informative]
    assert mixture.word_share < 0.5


@pytest.mark.parametrize("informative", [0, 1])
def test_the_width_that_tells_most_is_chosen_among_words(informative: int) -> None:
    told = [opinion(truth(), 3.0 if place == informative else 0.3, place) for place in range(2)]
    noise = [opinion(truth(), 0.0, 10 + place) for place in range(3)]
    mixture = choose(held_out(opinion(truth(), 0.5, 7).log(), noise, told))
    assert mixture.word_bandwidth == WORD_WIDTHS[informative]
    assert mixture.word_share > 0.5


@pytest.mark.parametrize("seed", range(2))
def test_no_mixture_of_a_fine_grid_costs_less(seed: int) -> None:
    given = held_out(
        opinion(truth(), 1.0, seed).log(),
        [opinion(truth(), 1.0, 100 * seed + place) for place in range(3)],
        [opinion(truth(), 1.0, 100 * seed + place) for place in range(10, 12)],
    )
    chosen = cost(given, choose(given))
    exponents = np.geomspace(0.1, 5.0, 7).tolist()
    grid = itertools.product(WIDTHS, WORD_WIDTHS, SHARES, exponents, exponents)
    assert chosen <= min(cost(given, Mixture(*settings)) for settings in grid) + 1e-6


@pytest.mark.parametrize("strength", [0.0, 1.5, 4.0])
def test_no_other_exponents_cost_less(strength: float) -> None:
    told = opinion(truth(), 1.5, 1)
    given = held_out(opinion(truth(), strength, 0).log(), [told] * 3)
    found = choose(given)
    best = cost(given, found)
    for weight, head_weight in itertools.product([0.1, 0.9, 1.0, 1.1, 10.0], repeat=2):
        changed = dataclasses.replace(found, weight=found.weight * weight, head_weight=found.head_weight * head_weight)
        assert changed == found or cost(given, changed) > best
