import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from graphloss.graph import bandwidth_dicm, bandwidth_loo, bandwidth_sqrt, local_widths
from graphloss.graph.bandwidth import MAX_EXACT, _smallest


def batch(documents: int, spread: float = 0.6, seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(documents) % 4
    centres = torch.randn(4, 12, generator=generator)
    return centres[labels] + spread * torch.randn(documents, 12, generator=generator), labels


def log_likelihood(points: Tensor, labels: Tensor, width: float) -> float:
    """Each document inferred from all others, one after the other."""
    total = []
    for left_out in range(len(points)):
        others = torch.arange(len(points)) != left_out
        weights = torch.exp(-(points[others] - points[left_out]).square().sum(1) / (2 * width**2))
        total.append((weights[labels[others] == labels[left_out]].sum() / weights.sum()).log())
    return float(torch.stack(total).mean())


def test_loo_is_the_most_likely_width() -> None:
    embeddings, labels = batch(48, spread=1.2)
    width = bandwidth_loo(embeddings, labels)
    points = torch.nn.functional.normalize(embeddings.double())
    best = log_likelihood(points, labels, width)
    for factor in (0.5, 0.8, 0.97, 1.03, 1.25, 2.0):
        assert best >= log_likelihood(points, labels, width * factor) - 1e-4


def test_loo_leaves_out_what_has_no_label_and_falls_back_where_nothing_can_be_chosen() -> None:
    embeddings, labels = batch(48)
    hidden = labels.clone()
    hidden[::3] = -100
    assert bandwidth_loo(embeddings, hidden) == bandwidth_loo(embeddings[hidden != -100], labels[hidden != -100])
    for useless in (torch.zeros(48, dtype=torch.int64), torch.arange(48), torch.full((48,), -100)):
        assert bandwidth_loo(embeddings, useless) == bandwidth_sqrt(embeddings)


def test_local_widths_are_the_distances_to_the_seventh_neighbour() -> None:
    embeddings, _ = batch(30)
    points = torch.nn.functional.normalize(embeddings)
    torch.testing.assert_close(local_widths(embeddings), torch.cdist(points, points).sort(1).values[:, 7])
    few = local_widths(embeddings[:3])
    torch.testing.assert_close(few, torch.cdist(points[:3], points[:3]).amax(1))


def test_local_widths_of_documents_that_coincide() -> None:
    embeddings, _ = batch(30)
    embeddings[:9] = torch.eye(12)[0]
    widths = local_widths(embeddings)
    assert (widths > 0).all()
    assert local_widths(torch.eye(12)[:1].expand(5, 12)).tolist() == [1.0] * 5


def test_sqrt_is_exact_up_to_two_thousand_documents_and_close_beyond() -> None:
    embeddings, _ = batch(MAX_EXACT)
    points = torch.nn.functional.normalize(embeddings)
    median = torch.cdist(points, points).fill_diagonal_(0.0).flatten().median().item()
    assert bandwidth_sqrt(embeddings) == pytest.approx((median / 3) ** 0.5, rel=1e-5)
    many, _ = batch(3 * MAX_EXACT)
    exact = torch.nn.functional.normalize(many)
    exact_width = (torch.cdist(exact, exact).flatten().median().item() / 3) ** 0.5
    estimates = [bandwidth_sqrt(many, seed=seed) for seed in range(8)]
    assert estimates[0] == bandwidth_sqrt(many, seed=0)
    assert len(set(estimates)) > 1
    assert estimates == pytest.approx([exact_width] * 8, rel=0.03)


def test_dicm_by_hand() -> None:
    angles = torch.tensor([0.0, 0.1, 0.4, 1.0], dtype=torch.float64)
    points = torch.stack([angles.cos(), angles.sin()], dim=1)
    got = bandwidth_dicm(5.0 * points, torch.tensor([0, 0, 1, 1]))
    assert got == pytest.approx(2 * np.sin(0.15) / 3)
    assert bandwidth_dicm(points, torch.full((4,), -100)) == 1.0


@settings(max_examples=50, deadline=None)
@given(
    size=st.integers(1, 90_000), share=st.floats(0, 1), levels=st.sampled_from([1, 3, 10**6]), seed=st.integers(0, 99)
)
def test_selection_is_that_of_sorting(size: int, share: float, levels: int, seed: int) -> None:
    values = np.random.default_rng(seed).integers(0, levels, size).astype(np.float32)
    rank = min(int(share * size), size - 1)
    assert _smallest(values, rank) == np.sort(values)[rank]
