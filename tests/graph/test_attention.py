"""The tiled rows of P and both solvers, against each other and against the plain dense version."""

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from graphloss import GLoss
from graphloss.graph import local_widths, propagate, propagation_loss, walk
from tests.graph import reference

SIZES = {"one tile": {}, "tiles": {"TILE": 64, "MIN_ROWS": 5}}
KEEPING = {"everything": {}, "among": {"KEPT": 30 * 30}, "nothing": {"KEPT": 0}}


@pytest.fixture(params=[(tiles, kept) for tiles in SIZES for kept in KEEPING], ids=lambda case: ", keeping ".join(case))
def forming(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each way in which P can be formed and kept."""
    tiles, kept = request.param
    for name, value in (SIZES[tiles] | KEEPING[kept]).items():
        monkeypatch.setattr(walk, name, value)


def batch(documents: int = 60, dtype: torch.dtype = torch.float64, seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(documents) % 3
    centres = torch.randn(3, 8, generator=generator, dtype=torch.float64)
    points = centres[labels] + torch.randn(documents, 8, generator=generator, dtype=torch.float64)
    return points.to(dtype).requires_grad_(), labels


def loss_and_gradient(x: Tensor, labels: Tensor, **settings: Any) -> tuple[Tensor, Tensor]:
    labelled, masked = torch.arange(30), torch.arange(30, len(labels))
    arguments = {"num_labels": 3, "bandwidth": 0.6, "teleport": 1e-3} | settings
    loss = propagation_loss(propagate(x, labels, labelled, masked, **arguments), labels[masked])
    return loss.detach(), torch.autograd.grad(loss, x)[0]


@pytest.mark.parametrize("solver", ["direct", "matrix-free"])
@pytest.mark.parametrize("normalize", [True, False])
def test_every_way_gives_the_plain_dense_loss_and_gradient(forming: None, solver: str, normalize: bool) -> None:
    x, labels = batch()
    got = loss_and_gradient(x, labels, solver=solver, normalize=normalize)
    points = x / x.norm(dim=1, keepdim=True) if normalize else x
    matrix = (1 - 1e-3) * reference.transition_matrix(points, 0.6, "row")
    targets = torch.nn.functional.one_hot(labels[:30], 3).double()
    sources = matrix[30:, :30] @ targets + 1e-3 * targets.mean(0)
    slow = propagation_loss(torch.linalg.solve(torch.eye(30) - matrix[30:, 30:], sources), labels[30:])
    torch.testing.assert_close(got[0], slow, rtol=1e-9, atol=1e-10)
    torch.testing.assert_close(got[1], torch.autograd.grad(slow, x)[0], rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("solver", ["direct", "matrix-free"])
def test_local_widths_and_a_learned_one(forming: None, solver: str) -> None:
    x, labels = batch()
    widths = local_widths(x)
    whole = loss_and_gradient(x, labels, bandwidth=widths, solver=solver)
    points = torch.nn.functional.normalize(x)
    logits = -(torch.cdist(points, points) ** 2) / (2 * widths[:, None] * widths)
    matrix = torch.softmax(logits.masked_fill(torch.eye(60, dtype=torch.bool), -torch.inf), dim=1) * (1 - 1e-3)
    targets = torch.nn.functional.one_hot(labels[:30], 3).double()
    sources = matrix[30:, :30] @ targets + 1e-3 * targets.mean(0)
    slow = propagation_loss(torch.linalg.solve(torch.eye(30) - matrix[30:, 30:], sources), labels[30:])
    torch.testing.assert_close(whole[0], slow, rtol=1e-7, atol=1e-8)
    torch.testing.assert_close(whole[1], torch.autograd.grad(slow, x)[0], rtol=1e-5, atol=1e-7)

    sigma = torch.tensor(0.6, dtype=torch.float64, requires_grad=True)

    def loss(width: Tensor) -> Tensor:
        propagated = propagate(
            x, labels, torch.arange(30), torch.arange(30, 60), num_labels=3, bandwidth=width, solver=solver
        )
        return propagation_loss(propagated, labels[30:])

    # A second backward pass forms again what the first let go of, with other rounding.
    assert torch.autograd.gradcheck(loss, sigma, nondet_tol=1e-12)


def test_a_second_backward_pass_gives_the_same(forming: None) -> None:
    """Also after the first has let go of P_uu."""
    x, labels = batch()
    propagated = propagate(
        x, labels, torch.arange(30), torch.arange(30, 60), num_labels=3, bandwidth=0.6, solver="matrix-free"
    )
    loss = propagation_loss(propagated, labels[30:])
    first, second = (torch.autograd.grad(loss, x, retain_graph=True)[0] for _ in range(2))
    torch.testing.assert_close(first, second)


def test_solvers_agree_in_float32_where_iterations_are_hard() -> None:
    """Tight clusters, most without a label: walks stay in them for long, and rounding is blown up in the gradient.

    Iterating adds less to the error of float32 than factoring has.
    """
    generator = torch.Generator().manual_seed(0)
    centres = torch.randn(40, 16, generator=generator)
    cluster = torch.randint(40, (400,), generator=generator)
    points = centres[cluster] + 0.2 * torch.randn(400, 16, generator=generator)
    labels, labelled, masked = cluster % 4, torch.arange(20), torch.arange(20, 400)
    results = []
    for dtype, solver in ((torch.float64, "direct"), (torch.float32, "direct"), (torch.float32, "matrix-free")):
        x = points.to(dtype).requires_grad_()
        arguments = {"num_labels": 4, "bandwidth": 0.12, "teleport": 1e-4, "solver": solver}
        propagated = propagate(x, labels, labelled, masked, **arguments)
        loss = propagation_loss(propagated, labels[masked])
        results.append((propagated.detach().double(), torch.autograd.grad(loss, x)[0].double()))
    exact, direct, iterated = results
    torch.testing.assert_close(direct[0], exact[0], rtol=1e-3, atol=1e-5)
    torch.testing.assert_close(iterated[0], exact[0], rtol=1e-2, atol=1e-4)
    error = (direct[1] - exact[1]).norm()
    assert error < 0.02 * exact[1].norm()
    assert (iterated[1] - direct[1]).norm() < error


def test_the_tolerance_is_that_of_the_residual() -> None:
    x, labels = batch()
    points = torch.nn.functional.normalize(x.detach())
    matrix = reference.transition_matrix(points, 0.6, "row")[30:]
    targets = torch.nn.functional.one_hot(labels[:30], 3).double()
    residuals = []
    for tolerance in (1e-2, 1e-5, 1e-10):
        f = propagate(
            x.detach(),
            labels,
            torch.arange(30),
            torch.arange(30, 60),
            num_labels=3,
            bandwidth=0.6,
            solver="matrix-free",
            tolerance=tolerance,
        )
        residuals.append(float((matrix[:, 30:] @ f + matrix[:, :30] @ targets - f).abs().max()))
        assert residuals[-1] <= 2 * tolerance
    assert residuals[0] > 1e-8 > residuals[2]


class NoDouble(TorchDispatchMode):
    """Fails where anything makes a tensor in float64, which some devices lack."""

    def __torch_dispatch__(self, function: Any, types: Any, arguments: Any = (), keywords: Any = None) -> Any:
        result = function(*arguments, **(keywords or {}))
        for value in torch.utils._pytree.tree_leaves(result):
            assert not isinstance(value, Tensor) or value.dtype != torch.float64, function
        return result


@pytest.mark.parametrize("bandwidth", [0.6, "sqrt", "dicm", "loo", "local", "learned"])
@pytest.mark.parametrize("masking", ["stratified", "random", "folds"])
@pytest.mark.parametrize("solver", ["direct", "matrix-free"])
def test_nothing_on_the_path_is_in_float64(bandwidth: float | str, masking: str, solver: str) -> None:
    x, labels = batch(dtype=torch.float32)
    loss = GLoss(3, bandwidth=bandwidth, masking=masking, solver=solver)
    with NoDouble():
        loss(x, labels).backward()
    with NoDouble():
        GLoss(3, transition="released", bandwidth=bandwidth, masking=masking)(x, labels).backward()


def test_memory_is_linear_in_the_batch() -> None:
    """Of the tensors that the matrix-free solver makes, none grows with the square of the batch."""

    class Largest(TorchDispatchMode):
        elements = 0

        def __torch_dispatch__(self, function: Any, types: Any, arguments: Any = (), keywords: Any = None) -> Any:
            result = function(*arguments, **(keywords or {}))
            for value in torch.utils._pytree.tree_leaves(result):
                if isinstance(value, Tensor):
                    self.elements = max(self.elements, value.untyped_storage().nbytes() // value.element_size())
            return result

    largest = []
    for size in (4_096, 8_192):
        x = torch.randn(size, 4, requires_grad=True)
        with pytest.MonkeyPatch.context() as patch, Largest() as mode:
            patch.setattr(walk, "KEPT", 2**16)
            patch.setattr(walk, "TILE", 2**16)
            GLoss(2, bandwidth=0.6)(x, torch.arange(size) % 2).backward()
        largest.append(mode.elements)
    assert largest[0] <= walk.MIN_ROWS * 4_096
    assert largest[1] <= 2 * largest[0]
