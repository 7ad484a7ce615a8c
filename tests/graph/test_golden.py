"""Numbers that the paper's released code gave."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from graphloss.graph import bandwidth_dicm, bandwidth_sqrt, propagate, propagation_loss

GOLDEN = Path(__file__).parents[1] / "golden"
PROPAGATION = sorted(GOLDEN.glob("lpa_*.npz"))
WIDTHS = sorted(GOLDEN.glob("sigma_*.npz"))
TOLERANCE = {torch.float64: 1e-8, torch.float32: 1e-5}


def test_the_golden_files_are_there() -> None:
    assert len(PROPAGATION) == 8
    assert len(WIDTHS) == 2


def off(value: Tensor, golden: np.ndarray) -> float:
    """The largest difference, in units of the largest golden entry."""
    return float((value.detach().double() - torch.as_tensor(golden)).abs().max() / np.abs(golden).max())


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=["float64", "float32"])
@pytest.mark.parametrize("path", PROPAGATION, ids=lambda path: path.stem)
def test_propagation_losses_and_gradients(path: Path, dtype: torch.dtype) -> None:
    golden = np.load(path)
    embeddings = torch.tensor(golden["embeddings"], dtype=dtype, requires_grad=True)
    labels, labelled, evaluated = (torch.tensor(golden[name]) for name in ("labels", "labelled", "evaluated"))
    weights = torch.tensor(golden["class_weights"], dtype=dtype)
    propagated = propagate(
        embeddings,
        labels,
        labelled,
        evaluated,
        num_labels=int(golden["num_classes"]),
        bandwidth=float(golden["sigma"]),
        transition="released",
    )
    truth = labels[evaluated]
    assert propagated.dtype == dtype
    assert off(propagated, golden["propagated"]) < TOLERANCE[dtype]

    released = propagation_loss(propagated, truth, objective="released", class_weights=weights)
    combined = propagation_loss(propagated, truth, objective="released-combined", class_weights=weights)
    nll = propagation_loss(propagated, truth)
    assert off(released, golden["released_loss"]) < TOLERANCE[dtype]
    assert off(combined, golden["released_loss_combined"]) < TOLERANCE[dtype]
    assert off(nll, golden["nll"]) < TOLERANCE[dtype]
    for loss, name in ((released, "released_grad"), (nll, "nll_grad")):
        (gradient,) = torch.autograd.grad(loss, embeddings, retain_graph=True)
        assert off(gradient, golden[name]) < TOLERANCE[dtype]

    right = propagated.gather(1, truth[:, None]).squeeze(1)
    assert ((right > 0).numpy() == golden["nll_rows"]).all()


@pytest.mark.parametrize("path", WIDTHS, ids=lambda path: path.stem)
def test_kernel_widths(path: Path) -> None:
    golden = np.load(path)
    labels = torch.tensor(golden["labels"])
    for dtype, tolerance in TOLERANCE.items():
        embeddings = torch.tensor(golden["embeddings"], dtype=dtype)
        assert bandwidth_sqrt(embeddings) == pytest.approx(float(golden["sigma_sqrt"]), rel=tolerance)
        assert bandwidth_dicm(embeddings, labels) == pytest.approx(float(golden["sigma_dicm"]), rel=tolerance)
