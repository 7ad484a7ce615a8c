import pytest
import torch

from graphloss.graph import bandwidth_dicm, bandwidth_sqrt, squared_distances, transition_rows, unit_rows


def test_unit_rows_and_their_gradient() -> None:
    rows = torch.randn(5, 7, dtype=torch.float64, generator=torch.Generator().manual_seed(0), requires_grad=True)
    torch.testing.assert_close(unit_rows(rows), torch.nn.functional.normalize(rows))
    assert torch.autograd.gradcheck(unit_rows, rows)


def test_unit_rows_of_any_length() -> None:
    row = torch.tensor([3.0, 4.0])
    rows = torch.stack([row, row * 1e30, row * 1e-30, row * 0]).requires_grad_()
    unit = unit_rows(rows)
    torch.testing.assert_close(unit, torch.tensor([[0.6, 0.8], [0.6, 0.8], [0.6, 0.8], [0, 0]]))
    unit[3].sum().backward()
    assert rows.grad is not None
    assert rows.grad[3].tolist() == [0, 0]


def test_squared_distances_of_a_tight_cluster_keep_their_digits() -> None:
    """Unit vectors 0.01 apart: squaring `cdist` in float32 is off by a few percent there."""
    generator = torch.Generator().manual_seed(0)
    points = unit_rows(torch.randn(384, generator=generator) + 1e-3 * torch.randn(64, 384, generator=generator))
    exact = squared_distances(points.double(), points.double())
    assert exact.max() < 0.01
    off = (squared_distances(points, points).double() - exact).abs().max() / exact.median()
    assert off < 1e-4
    assert squared_distances(points, points).min() >= 0


def test_distances_of_other_points() -> None:
    rows, columns = torch.randn(3, 4, dtype=torch.float64), torch.randn(5, 4, dtype=torch.float64)
    torch.testing.assert_close(squared_distances(rows, columns), torch.cdist(rows, columns) ** 2)


@pytest.mark.parametrize("transition", ["row", "released"])
def test_rows_of_the_transition_sum_to_one(transition: str) -> None:
    rows = transition_rows(torch.randn(9, 4), torch.arange(9), 0.7, transition)
    torch.testing.assert_close(rows.sum(1), torch.ones(9))
    assert rows.diagonal().abs().max() == 0


def test_columns_sum_to_one_in_the_printed_form() -> None:
    torch.testing.assert_close(transition_rows(torch.randn(9, 4), torch.arange(9), 0.7, "column").sum(0), torch.ones(9))


def test_widths_where_all_documents_coincide_or_no_labels_differ() -> None:
    same = torch.ones(6, 3)
    assert bandwidth_sqrt(same) == 1.0
    assert bandwidth_dicm(same, torch.tensor([0, 0, 0, 1, 1, -100])) == 1.0
    apart = torch.eye(3)
    assert bandwidth_dicm(apart, torch.zeros(3, dtype=torch.int64)) == pytest.approx(2**0.5 / 3)


def test_a_width_over_many_documents_is_taken_from_a_sample() -> None:
    points = torch.randn(5000, 16, generator=torch.Generator().manual_seed(0))
    exact = (torch.cdist(unit_rows(points), unit_rows(points)).median().item() / 3) ** 0.5
    assert bandwidth_sqrt(points) == pytest.approx(exact, rel=0.02)
    assert bandwidth_sqrt(points, seed=1) == bandwidth_sqrt(points, seed=1) != bandwidth_sqrt(points, seed=2)
