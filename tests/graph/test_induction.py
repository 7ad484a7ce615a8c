"""Labels handed to documents outside the graph."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from graphloss.graph import induction, propagate
from graphloss.graph.induction import (
    GRID,
    NARROWEST,
    SAMPLED,
    WIDEST,
    class_shares,
    company_rows,
    kernel_mass,
    left_out_shares,
    one_hot,
    walk_rows,
    width_grid,
)


def unit(documents: int, seed: int = 0, dtype: torch.dtype = torch.float32) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.nn.functional.normalize(torch.randn(documents, 6, generator=generator, dtype=torch.float64)).to(dtype)


def plain_rows(similarities: Tensor, bandwidth: float) -> list[list[float]]:
    """A softmax, one entry after the other, over whom is to be asked."""
    rows = []
    for row in similarities.tolist():
        highest = max(row)
        weights = [math.exp((value - highest) / bandwidth**2) if value > -math.inf else 0.0 for value in row]
        rows.append([weight / sum(weights) for weight in weights])
    return rows


def transition(points: Tensor, bandwidth: float) -> Tensor:
    """(B, B), nobody asking itself."""
    return walk_rows((points @ points.T).fill_diagonal_(-torch.inf), bandwidth)


def inverse_rows(among: Tensor, reach: Tensor, teleport: float) -> np.ndarray:
    """(I - (1 - t) P_uu)^-1 ((1 - t) P_ul + t / N), its rows brought to sum one."""
    inverse = np.linalg.inv(np.eye(len(among)) - (1.0 - teleport) * among.double().numpy())
    rows = inverse @ ((1.0 - teleport) * reach.double().numpy() + teleport / reach.shape[1])
    return rows / rows.sum(axis=1, keepdims=True)


@pytest.mark.parametrize("bandwidth", [0.05, 0.3, 2.0])
def test_walk_rows_are_a_softmax_of_cosines(bandwidth: float) -> None:
    similarities = unit(5) @ unit(9, seed=1).T
    similarities[2, 4] = similarities[3, 0] = -torch.inf
    before = similarities.clone()
    torch.testing.assert_close(
        walk_rows(similarities, bandwidth), torch.tensor(plain_rows(similarities, bandwidth)), rtol=1e-4, atol=1e-7
    )
    assert torch.equal(similarities, before)


def test_walk_rows_are_those_of_the_gaussian_affinity() -> None:
    new, labelled = unit(4, dtype=torch.float64), unit(7, seed=1, dtype=torch.float64)
    weights = torch.exp(-torch.cdist(new, labelled).square() / (2 * 0.4**2))
    torch.testing.assert_close(walk_rows(new @ labelled.T, 0.4), weights / weights.sum(1, keepdim=True))


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.lists(st.floats(-1, 1, width=32) | st.just(-math.inf), min_size=4, max_size=4), min_size=1, max_size=5),
    st.floats(1e-3, 1e3),
)
def test_walk_rows_sum_to_one_or_nobody_is_asked(values: list[list[float]], bandwidth: float) -> None:
    rows = walk_rows(torch.tensor(values), bandwidth)
    for row, asked in zip(rows, values, strict=True):
        assert float(row.sum()) == pytest.approx(1.0 if max(asked) > -math.inf else 0.0, abs=1e-6)
        assert all(share == 0.0 for share, value in zip(row.tolist(), asked, strict=True) if value == -math.inf)
    assert (rows >= 0).all()


def test_a_document_that_asks_nobody_gets_no_label() -> None:
    similarities = torch.tensor([[-torch.inf, -torch.inf], [0.5, 0.5]])
    rows = walk_rows(similarities, 0.1)
    assert rows.tolist() == [[0.0, 0.0], [0.5, 0.5]]
    assert kernel_mass(similarities, 0.1)[0] == 0.0
    assert class_shares(rows, torch.eye(2)).tolist() == [[0.0, 0.0], [0.5, 0.5]]


@pytest.mark.parametrize("bandwidth", [0.2, 1.0])
def test_kernel_mass_is_the_plain_gaussian_sum(bandwidth: float) -> None:
    new, labelled = unit(4, dtype=torch.float64), unit(7, seed=1, dtype=torch.float64)
    plain = [
        sum(math.exp(-float((x - y).square().sum()) / (2 * bandwidth**2)) for y in labelled.unbind())
        for x in new.unbind()
    ]
    assert kernel_mass(new @ labelled.T, bandwidth).tolist() == pytest.approx(plain)


def test_kernel_mass_counts_documents_that_coincide_and_misses_those_far_away() -> None:
    assert kernel_mass(torch.ones(1, 9), 0.1).tolist() == [9.0]
    assert kernel_mass(torch.zeros(1, 9), 0.1).item() < 1e-30


def test_class_shares_by_hand() -> None:
    rows = torch.tensor([[0.5, 0.2, 0.3], [0.0, 1.0, 0.0]])
    shares = class_shares(rows, one_hot(torch.tensor([1, 0, 1]), 3))
    torch.testing.assert_close(shares, torch.tensor([[0.2, 0.8, 0.0], [1.0, 0.0, 0.0]]))


def test_documents_without_a_label_hand_nothing_on() -> None:
    assert one_hot(torch.tensor([2, -100, 0]), 3).tolist() == [[0.0, 0.0, 1.0], [0.0, 0.0, 0.0], [1.0, 0.0, 0.0]]


def test_the_width_grid_spans_shares_of_the_median_distance() -> None:
    distances = torch.tensor([[0.2, 0.4, 0.6], [0.8, 0.5, 0.3], [0.1, 0.4, 1.0]])
    grid = width_grid(1.0 - distances.square() / 2.0)
    assert len(grid) == GRID
    assert grid == sorted(set(grid))
    assert (grid[0], grid[-1]) == pytest.approx((NARROWEST * 0.4, WIDEST * 0.4), rel=1e-4)
    halved = width_grid(1.0 - (distances / 2.0).square() / 2.0)
    assert halved == pytest.approx([width / 2.0 for width in grid], rel=1e-4)


def test_the_width_grid_does_not_see_where_a_document_meets_itself() -> None:
    similarities = unit(6) @ unit(6).T
    others = similarities[~torch.eye(6, dtype=torch.bool)].view(6, 5)
    assert width_grid(similarities.fill_diagonal_(-torch.inf)) == width_grid(others)


@pytest.mark.parametrize("similarities", [torch.ones(3, 3), torch.full((2, 2), -torch.inf), torch.ones(0, 4)])
def test_the_width_grid_is_positive_where_there_is_nothing_to_see(similarities: Tensor) -> None:
    grid = width_grid(similarities)
    assert all(0.0 < width < 1.0 for width in grid)
    assert grid == sorted(set(grid))


def test_the_width_grid_of_many_documents_is_that_of_a_sample() -> None:
    similarities = unit(700) @ unit(700, seed=1).T
    assert similarities.numel() > 4 * SAMPLED
    median = float((2.0 - 2.0 * similarities.median()).sqrt())
    assert width_grid(similarities)[-1] == pytest.approx(WIDEST * median, rel=0.01)


@pytest.mark.parametrize("bandwidth", [0.2, 0.6])
def test_company_rows_are_those_of_the_inverse(bandwidth: float) -> None:
    rows = transition(unit(14), bandwidth)
    among, reach = rows[9:, 9:], rows[9:, :9]
    (alone,) = company_rows(among, [reach])
    np.testing.assert_allclose(alone.numpy(), inverse_rows(among, reach, 1e-6), atol=1e-6)
    np.testing.assert_allclose(alone.numpy(), inverse_rows(among, reach, 0.0), atol=1e-4)
    np.testing.assert_allclose(alone.sum(1).numpy(), 1.0, atol=1e-6)


def test_parts_of_company_rows_add_up() -> None:
    rows = transition(unit(14), 0.4)
    among, reach = rows[9:, 9:], rows[9:, :9]
    (whole,) = company_rows(among, [reach])
    first, second = company_rows(among, [0.25 * reach, 0.75 * reach])
    torch.testing.assert_close(first + second, whole)
    torch.testing.assert_close(3.0 * first, second, atol=1e-6, rtol=1e-4)


def test_near_duplicates_that_hear_of_each_other_alone_still_get_shares() -> None:
    """The leak of the pair to the labelled documents is lost in 1 - p, in float32 and even in float64."""
    points = unit(8)
    points[7] = torch.nn.functional.normalize(points[6] + 1e-4 * unit(1, seed=2)[0], dim=0)
    rows = transition(points, 0.1)
    among, reach = rows[5:, 5:], rows[5:, :5]
    assert float(reach[1:].sum(1).amax()) < 1e-7
    (shares,) = company_rows(among, [reach])
    assert shares.isfinite().all()
    assert (shares >= 0).all()
    torch.testing.assert_close(shares.sum(1), torch.ones(3))
    torch.testing.assert_close(shares[1], shares[2], atol=1e-5, rtol=1e-3)


def test_documents_that_nobody_reaches_get_even_shares() -> None:
    among = torch.tensor([[0.0, 1.0], [1.0, 0.0]])
    (shares,) = company_rows(among, [torch.zeros(2, 4)])
    torch.testing.assert_close(shares, torch.full((2, 4), 0.25))


@pytest.mark.parametrize("bandwidth", [0.2, 0.5, 1.5])
def test_one_document_alone_is_told_what_propagation_says(bandwidth: float) -> None:
    points, labels = unit(13), torch.arange(13) % 3
    labelled = torch.arange(12)
    rows = walk_rows(points[12:] @ points[:12].T, bandwidth)
    expected = propagate(points, labels, labelled, torch.tensor([12]), num_labels=3, bandwidth=bandwidth)
    torch.testing.assert_close(class_shares(rows, one_hot(labels[:12], 3)), expected, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("bandwidth", [0.2, 0.5, 1.5])
def test_documents_in_company_are_told_what_propagation_says(bandwidth: float) -> None:
    points, labels = unit(15), torch.arange(15) % 3
    labelled, new = torch.arange(9), torch.arange(9, 15)
    rows = transition(points, bandwidth)[new]
    (shares,) = company_rows(rows[:, new], [rows[:, labelled]])
    expected = propagate(points, labels, labelled, new, num_labels=3, bandwidth=bandwidth, transition="row")
    torch.testing.assert_close(class_shares(shares, one_hot(labels[labelled], 3)), expected, atol=1e-4, rtol=1e-3)


@pytest.mark.parametrize("bandwidth", [0.02, 0.1, 0.5])
@pytest.mark.parametrize("block", [5, 7, 1000])
def test_leaving_each_document_out_is_not_asking_itself(
    bandwidth: float, block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At the least width all weights of most documents underflow in float32."""
    monkeypatch.setattr(induction, "BLOCK", block)
    points, targets = unit(21), one_hot(torch.arange(21) % 3, 3)
    expected = class_shares(transition(points, bandwidth), targets)
    torch.testing.assert_close(left_out_shares(points, targets, bandwidth), expected, atol=1e-5, rtol=1e-3)


def test_documents_that_coincide_share_labels_when_left_out() -> None:
    points = torch.eye(4)[[0, 0, 0, 1]]
    shares = left_out_shares(points, one_hot(torch.tensor([0, 0, 1, 1]), 2), 0.1)
    torch.testing.assert_close(shares, torch.tensor([[0.5, 0.5], [0.5, 0.5], [1.0, 0.0], [2 / 3, 1 / 3]]))
