"""For every finite input the loss and its gradients are finite."""

import math
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor

from graphloss import GLoss

SCALES = [0.0, 1e-30, 1e-6, 1.0, 1.0, 1e6, 1e30]
WIDTHS = st.one_of(
    st.sampled_from(["sqrt", "dicm", "loo", "local", "learned"]), st.floats(-6.0, 6.0).map(lambda power: 10.0**power)
)


@st.composite
def situations(draw: st.DrawFn) -> dict[str, Any]:
    """A batch and settings, the odd ones as likely as the usual ones."""
    size = draw(st.one_of(st.integers(1, 3), st.integers(4, 14)))
    transition = draw(st.sampled_from(["row", "row", "released", "column"]))
    bandwidth = draw(WIDTHS)
    return {
        "size": size,
        "dimension": draw(st.integers(1, 6)),
        "dtype": draw(st.sampled_from([torch.float16, torch.bfloat16, torch.float32, torch.float64])),
        "scales": draw(st.lists(st.sampled_from(SCALES), min_size=size, max_size=size)),
        "same_rows": draw(st.sampled_from(["none", "pairs", "all"])),
        "labelled_share": draw(st.sampled_from([0.0, 0.5, 1.0])),
        "steps": draw(st.integers(1, 2)),
        "settings": {
            "num_labels": draw(st.sampled_from([1, 2, 3, 7, 10_000])),
            "bandwidth": bandwidth,
            "transition": transition,
            "labelled_fraction": draw(st.sampled_from([0.0, 0.3, 0.7, 0.99])),
            "masking": draw(st.sampled_from(["stratified", "random", "folds"])),
            "objective": draw(st.sampled_from(["nll", "members", "released", "released-combined"])),
            "targets": draw(st.sampled_from(["class", "distribution"])),
            "teleport": draw(st.sampled_from([0.0, 1e-4, 1.0])),
            "memory_size": draw(st.sampled_from([0, 5])) if transition == "row" and bandwidth != "local" else 0,
            "solver": draw(st.sampled_from(["auto", "matrix-free"])) if transition == "row" else "auto",
        },
        "seed": draw(st.integers(0, 2**31)),
    }


def batch_of(situation: dict[str, Any]) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(situation["seed"])
    size, classes = situation["size"], situation["settings"]["num_labels"]
    points = torch.randn(size, situation["dimension"], generator=generator, dtype=torch.float64)
    if situation["same_rows"] == "pairs":
        points[1::2] = points[: size - size % 2 : 2].clone()
    elif situation["same_rows"] == "all":
        points[:] = points[0].clone()
    limit = torch.finfo(situation["dtype"]).max
    points = (points * torch.tensor(situation["scales"], dtype=torch.float64)[:, None]).clamp(-limit, limit)
    known = torch.rand(size, generator=generator) < situation["labelled_share"]
    if situation["settings"]["targets"] == "class":
        labels = torch.randint(classes, (size,), generator=generator).masked_fill(~known, -100)
    else:
        labels = torch.softmax(9.0 * torch.randn(size, classes, generator=generator), dim=1)
        labels[~known] = math.nan
    return points.to(situation["dtype"]).requires_grad_(), labels


def check(situation: dict[str, Any]) -> None:
    loss = GLoss(**situation["settings"], seed=situation["seed"])
    for _ in range(situation["steps"]):
        embeddings, labels = batch_of(situation)
        value = loss(embeddings, labels)
        value.backward()
        assert torch.isfinite(value)
        assert embeddings.grad is not None
        assert torch.isfinite(embeddings.grad).all()
        assert all(
            torch.isfinite(parameter.grad).all() for parameter in loss.parameters() if parameter.grad is not None
        )
        figures = loss.diagnostics
        if figures["masked"] == 0:
            assert value == 0.0
            assert not embeddings.grad.any()
        else:
            assert math.isfinite(figures["bandwidth"])
            assert figures["evaluated"] + figures["orphans"] >= 0


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(situation=situations())
def test_loss_and_gradients_are_finite(situation: dict[str, Any]) -> None:
    check(situation)


@pytest.mark.slow
@settings(max_examples=10_000, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(situation=situations())
def test_loss_and_gradients_are_finite_ten_thousand_times(situation: dict[str, Any]) -> None:
    check(situation)


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32])
def test_a_gradient_that_exceeds_its_type_saturates_and_is_counted(dtype: torch.dtype) -> None:
    """Documents so short that the gradient, which goes with the inverse of their length, cannot be held."""
    generator = torch.Generator().manual_seed(0)
    length = 1e-7 if dtype == torch.float16 else 1e-37
    embeddings = (torch.randn(8, 4, generator=generator) * length).to(dtype).requires_grad_()
    loss = GLoss(2, bandwidth=0.5)
    (loss(embeddings, torch.tensor([0, 1] * 4)) * 1e4).backward()
    assert embeddings.grad is not None
    assert torch.isfinite(embeddings.grad).all()
    at_the_limit = int((embeddings.grad.abs() == torch.finfo(dtype).max).sum())
    assert loss.diagnostics["saturated"] == at_the_limit > 0


def test_rows_shorter_than_the_smallest_normal_number_are_zero_vectors() -> None:
    embeddings = torch.randn(6, 4, generator=torch.Generator().manual_seed(0))
    labels = torch.tensor([0, 1] * 3)
    short, zero = embeddings.clone(), embeddings.clone()
    short[2], zero[2] = 1e-39, 0.0
    values = [GLoss(2, bandwidth=0.5)(x, labels) for x in (short, zero, embeddings)]
    assert values[0] == values[1] != values[2]


@pytest.mark.parametrize("wrong", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("transition", ["row", "released"])
def test_embeddings_that_are_not_finite_are_refused(wrong: float, transition: str) -> None:
    embeddings = torch.randn(8, 4)
    embeddings[3, 1] = embeddings[6, 0] = wrong
    with pytest.raises(ValueError, match=r"2 of 8 rows are not: .*learning rate"):
        GLoss(2, transition=transition)(embeddings, torch.tensor([0, 1] * 4))
    with pytest.raises(ValueError, match="2 of 8 rows"):
        GLoss(2)(embeddings, torch.full((8,), -100))
    many = torch.randn(2_408, 4)
    many[1_000:1_500] = wrong
    with pytest.raises(ValueError, match="500 of 2408 rows"):  # of which the rule for the width takes a sample
        GLoss(2)(many, torch.arange(2_408) % 2)
