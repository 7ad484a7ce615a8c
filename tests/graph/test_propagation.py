import math

import pytest
import torch
from torch import Tensor

from graphloss.graph import propagate, propagation_loss, transition_rows
from tests.graph import reference

TRANSITIONS = ["row", "released", "column"]


def batch(documents: int = 24, dimension: int = 8, classes: int = 3, seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(documents) % classes
    centres = torch.randn(classes, dimension, generator=generator, dtype=torch.float64)
    return centres[labels] + torch.randn(documents, dimension, generator=generator, dtype=torch.float64), labels


def split(documents: int, labelled: int) -> tuple[Tensor, Tensor]:
    return torch.arange(labelled), torch.arange(labelled, documents)


def on_a_line(*positions: float) -> Tensor:
    return torch.tensor(positions, dtype=torch.float64)[:, None]


def test_three_nodes_by_hand() -> None:
    """Points 0, 1, 2 on a line, the ends labelled: the middle is as near to either. Moved to 0.5, it leans."""
    labels = torch.tensor([0, 1, 0])
    ends, middle = torch.tensor([0, 1]), torch.tensor([2])
    arguments = {"num_labels": 2, "bandwidth": 1.0, "normalize": False}
    even = propagate(on_a_line(0, 2, 1), labels, ends, middle, **arguments)
    assert even[0].tolist() == pytest.approx([0.5, 0.5])
    leaning = propagate(on_a_line(0, 2, 0.5), labels, ends, middle, **arguments)
    near, far = math.exp(-0.125), math.exp(-1.125)
    assert leaning[0].tolist() == pytest.approx([near / (near + far), far / (near + far)])


def test_a_chain_by_hand() -> None:
    """Two unknown nodes between two labelled ones: the walk's absorption probabilities, worked out by hand."""
    points = on_a_line(0, 3, 1, 2)
    labels = torch.tensor([0, 1, 0, 0])
    got = propagate(
        points, labels, torch.tensor([0, 1]), torch.tensor([2, 3]), num_labels=2, bandwidth=1.0, normalize=False
    )
    one, two = math.exp(-0.5), math.exp(-2.0)  # weights at distance 1 and 2
    degree = 2 * one + two
    p_near, p_far, p_other = one / degree, two / degree, one / degree
    # f0 of node 2: a = p_near + p_other * b, of node 3: b = p_far + p_other * a
    a = (p_near + p_other * p_far) / (1 - p_other**2)
    b = p_far + p_other * a
    torch.testing.assert_close(got, torch.tensor([[a, 1 - a], [b, 1 - b]], dtype=torch.float64))


@pytest.mark.parametrize("transition", TRANSITIONS)
@pytest.mark.parametrize("sigma", [0.3, 0.7, 3.0])
def test_agrees_with_the_plain_dense_version(transition: str, sigma: float) -> None:
    embeddings, labels = batch()
    labelled, masked = split(24, 15)
    slow = reference.propagate(embeddings, labels, labelled, masked, 3, sigma, transition, teleport=1e-4)
    arguments = {"num_labels": 3, "bandwidth": sigma, "transition": transition, "teleport": 1e-4}
    fast = propagate(embeddings, labels, labelled, masked, **arguments)
    torch.testing.assert_close(fast, slow, rtol=1e-9, atol=1e-12)
    single = propagate(embeddings.float(), labels, labelled, masked, **arguments)
    torch.testing.assert_close(single.double(), slow, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("transition", TRANSITIONS)
def test_gradient_by_finite_differences(transition: str) -> None:
    embeddings, labels = batch(12, 5)
    labelled, masked = split(12, 6)

    def loss(x: Tensor) -> Tensor:
        propagated = propagate(
            x, labels, labelled, masked[:4], num_labels=3, bandwidth=0.6, transition=transition, teleport=1e-3
        )
        return propagation_loss(propagated, labels[masked[:4]])

    assert torch.autograd.gradcheck(loss, embeddings.requires_grad_())


@pytest.mark.parametrize("normalize", [True, False])
def test_gradient_of_attention_equals_that_of_the_matrix(normalize: bool) -> None:
    """The hand-written gradient of "row" against autograd through the plain transition matrix."""
    embeddings, labels = batch(20, 6)
    labelled, masked = split(20, 12)
    embeddings.requires_grad_()
    fast = propagate(embeddings, labels, labelled, masked, num_labels=3, bandwidth=0.8, normalize=normalize)
    points = embeddings / embeddings.norm(dim=1, keepdim=True) if normalize else embeddings
    matrix = reference.transition_matrix(points, 0.8, "row")
    targets = torch.nn.functional.one_hot(labels[labelled], 3).double()
    system = torch.eye(8, dtype=torch.float64) - matrix[masked][:, masked]
    slow = torch.linalg.solve(system, matrix[masked][:, labelled] @ targets)
    torch.testing.assert_close(fast, slow)
    gradients = [torch.autograd.grad(f.square().sum(), embeddings)[0] for f in (fast, slow)]
    torch.testing.assert_close(*gradients)


def test_rows_in_neither_list_are_unlabelled_nodes() -> None:
    embeddings, labels = batch()
    labelled, rest = split(24, 10)
    all_rows = propagate(embeddings, labels, labelled, rest, num_labels=3, bandwidth=0.7)
    some = propagate(embeddings, labels, labelled, rest[[5, 2]], num_labels=3, bandwidth=0.7)
    torch.testing.assert_close(some, all_rows[[5, 2]])
    alone = propagate(embeddings[:12], labels[:12], labelled, torch.tensor([10]), num_labels=3, bandwidth=0.7)
    assert not torch.allclose(alone, all_rows[:1])


def test_near_duplicates_among_masked_nodes_stay_regular_in_float32() -> None:
    """At distance 1e-3 and sigma 0.2, I - P_uu is singular in float32 if its diagonal is 1 - p."""
    embeddings, labels = batch(16, 32, 2)
    embeddings = embeddings.float()
    embeddings[15] = embeddings[14] + 1e-4
    labelled, masked = split(16, 14)
    got = propagate(embeddings, labels, labelled, masked, num_labels=2, bandwidth=0.2, teleport=1e-4)
    assert torch.isfinite(got).all()
    torch.testing.assert_close(got.sum(1), torch.ones(2))
    exact = propagate(embeddings.double(), labels, labelled, masked, num_labels=2, bandwidth=0.2, teleport=1e-4)
    torch.testing.assert_close(got.double(), exact, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("transition", ["row", "released"])
def test_a_node_that_no_label_reaches_gets_the_class_shares_and_no_gradient(transition: str) -> None:
    """Two documents so far from all others that every weight to those underflows."""
    points = torch.tensor([[0.0, 0], [1, 0], [0, 1], [500, 500], [500, 501]], requires_grad=True)
    labels = torch.tensor([0, 0, 1, 0, 1])
    got = propagate(
        points,
        labels,
        torch.tensor([0, 1, 2]),
        torch.tensor([3, 4]),
        num_labels=2,
        bandwidth=1.0,
        transition=transition,
        normalize=False,
    )
    torch.testing.assert_close(got, torch.tensor([[2 / 3, 1 / 3]] * 2), rtol=1e-4, atol=1e-4)
    propagation_loss(got, labels[3:]).backward()
    assert points.grad is not None
    assert points.grad.abs().max() < 1e-4


def test_without_labels_every_class_is_as_likely() -> None:
    embeddings, labels = batch(4)
    got = propagate(embeddings, labels, torch.empty(0, dtype=torch.int64), torch.arange(4), num_labels=3, bandwidth=1.0)
    assert got.tolist() == [[pytest.approx(1 / 3)] * 3] * 4
    assert got.dtype == embeddings.dtype


def test_half_precision_is_raised_and_autocast_left_outside() -> None:
    embeddings, labels = batch()
    labelled, masked = split(24, 15)
    exact = propagate(embeddings, labels, labelled, masked, num_labels=3, bandwidth=0.5)
    for dtype in (torch.bfloat16, torch.float16):
        got = propagate(embeddings.to(dtype), labels, labelled, masked, num_labels=3, bandwidth=0.5)
        assert got.dtype == torch.float32
        torch.testing.assert_close(got.double(), exact, rtol=0.1, atol=0.05)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        got = propagate(embeddings.float(), labels, labelled, masked, num_labels=3, bandwidth=0.5)
    torch.testing.assert_close(got.double(), exact, rtol=1e-4, atol=1e-5)


def test_a_small_width_does_not_underflow() -> None:
    """At sigma 0.05 every weight of 384-dimensional unit vectors is zero in float32, but not their ratios."""
    embeddings, labels = batch(32, 384)
    labelled, masked = split(32, 20)
    got = propagate(embeddings.float(), labels, labelled, masked, num_labels=3, bandwidth=0.05)
    torch.testing.assert_close(got.sum(1), torch.ones(12))


@pytest.mark.parametrize(
    "arguments",
    [{"bandwidth": 0.0}, {"bandwidth": -1.0}, {"bandwidth": math.nan}, {"bandwidth": math.inf}, {"teleport": 1.5}],
)
def test_refuses_what_is_undefined(arguments: dict) -> None:
    embeddings, labels = batch(6)
    with pytest.raises(ValueError):
        propagate(embeddings, labels, *split(6, 3), **{"num_labels": 3, "bandwidth": 1.0} | arguments)
    with pytest.raises(ValueError, match="must not be among"):
        propagate(embeddings, labels, torch.arange(4), torch.arange(3, 6), num_labels=3, bandwidth=1.0)
    with pytest.raises(ValueError, match=r"\[0, 2\), found"):
        propagate(embeddings, labels, *split(6, 3), num_labels=2, bandwidth=1.0)
    with pytest.raises(ValueError, match="transition"):
        transition_rows(embeddings, torch.tensor([0]), 1.0, "softmax")


def test_a_perfect_answer_costs_nothing_and_the_released_form_does() -> None:
    for classes, cost in ((2, 0.31), (20, 2.08), (52, 2.98)):
        perfect = torch.eye(classes)
        truth = torch.arange(classes)
        assert propagation_loss(perfect, truth) == 0.0
        assert propagation_loss(perfect, truth, objective="released").item() == pytest.approx(cost, abs=0.005)


def test_documents_whose_class_nobody_has_leave_the_mean() -> None:
    propagated = torch.tensor([[0.5, 0.5, 0.0], [0.25, 0.75, 0.0], [0.9, 0.1, 0.0]])
    got = propagation_loss(propagated, torch.tensor([0, 1, 2]))
    assert got.item() == pytest.approx((math.log(2) + math.log(4 / 3)) / 2)


def test_class_weights_weigh_the_mean() -> None:
    propagated = torch.tensor([[0.5, 0.5], [0.25, 0.75]])
    got = propagation_loss(propagated, torch.tensor([0, 1]), class_weights=torch.tensor([3.0, 1.0]))
    assert got.item() == pytest.approx((3 * math.log(2) + math.log(4 / 3)) / 4)


def test_nothing_to_evaluate_is_a_connected_zero() -> None:
    propagated = torch.tensor([[1.0, 0.0]], requires_grad=True)
    loss = propagation_loss(propagated, torch.tensor([1]))
    loss.backward()
    assert loss.item() == 0.0
    assert propagated.grad is not None
    assert propagated.grad.abs().max() == 0.0
    with pytest.raises(ValueError, match="objective"):
        propagation_loss(propagated, torch.tensor([1]), objective="mse")


def test_class_mass_normalization_gives_classes_the_shares_asked_for() -> None:
    """Zhu, Ghahramani & Lafferty (2003): each column is scaled to its mass, and then each row to one."""
    embeddings, labels = batch(40)
    labelled, rest = split(40, 6)
    arguments = {"num_labels": 3, "bandwidth": 0.9}
    plain = propagate(embeddings, labels, labelled, rest, **arguments)
    mass = torch.tensor([0.6, 0.3, 0.1], dtype=torch.float64)
    got = propagate(embeddings, labels, labelled, rest, class_mass=mass, **arguments)
    by_hand = plain * mass / plain.sum(0)
    torch.testing.assert_close(got, by_hand / by_hand.sum(1, keepdim=True))
    some = propagate(embeddings, labels, labelled, rest[[3, 1]], class_mass=mass, **arguments)
    torch.testing.assert_close(some, got[[3, 1]])  # the mass is that over all unlabelled nodes
    only = propagate(embeddings, labels, labelled, rest, class_mass=torch.tensor([0.0, 0.0, 2.0]), **arguments)
    torch.testing.assert_close(only[:, 2], torch.ones(34, dtype=torch.float64))


def test_class_mass_repairs_a_dense_graph_with_few_labels() -> None:
    """Wide kernel, unequal labels: the largest class wins everywhere, unless masses are given."""
    embeddings, labels = batch(150)
    labelled = torch.tensor([0, 3, 6, 9, 12, 1, 4, 2])  # five, two and one of the classes
    rest = torch.tensor([row for row in range(150) if row not in set(labelled.tolist())])
    arguments = {"num_labels": 3, "bandwidth": 1.0}
    plain = propagate(embeddings, labels, labelled, rest, **arguments)
    assert (plain.argmax(1) == 0).all()
    repaired = propagate(embeddings, labels, labelled, rest, class_mass=torch.full((3,), 1 / 3), **arguments)
    assert (repaired.argmax(1) == labels[rest]).double().mean() > 0.8


@pytest.mark.parametrize("transition", TRANSITIONS)
def test_distributions_as_labels(transition: str) -> None:
    """One-hot rows give what classes give, and the answer is linear in the rows."""
    embeddings, labels = batch()
    labelled, masked = split(24, 15)
    arguments = {"num_labels": 3, "bandwidth": 0.7, "transition": transition}
    hard = propagate(embeddings, labels, labelled, masked, **arguments)
    one_hot = torch.eye(3, dtype=torch.float64)[labels]
    torch.testing.assert_close(propagate(embeddings, one_hot, labelled, masked, **arguments), hard)
    soft = torch.softmax(torch.randn(24, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64), 1)
    mixed = propagate(embeddings, 0.3 * soft + 0.7 * one_hot, labelled, masked, **arguments)
    expected = 0.3 * propagate(embeddings, soft, labelled, masked, **arguments) + 0.7 * hard
    torch.testing.assert_close(mixed, expected, rtol=1e-6, atol=1e-9)


def test_the_loss_on_distributions() -> None:
    propagated = torch.tensor([[0.5, 0.5, 0.0], [0.25, 0.75, 0.0]])
    shares = torch.tensor([[0.5, 0.3, 0.2], [0.0, 0.0, 1.0]])
    got = propagation_loss(propagated, shares)
    assert got.item() == pytest.approx((0.8 * math.log(2)) / 0.8)  # what no label reaches leaves the mean
    labels = torch.tensor([1, 0])
    for objective in ("nll", "released", "released-combined"):
        hard = propagation_loss(propagated, labels, objective=objective)
        torch.testing.assert_close(propagation_loss(propagated, torch.eye(3)[labels], objective=objective), hard)


@pytest.mark.parametrize("solver", ["direct", "matrix-free"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_an_island_without_labels_gets_the_shares_and_exactly_no_gradient(solver: str, dtype: torch.dtype) -> None:
    """At a narrow width each of its documents sees the others alone; what is left of the labels is rounding."""
    generator = torch.Generator().manual_seed(0)
    points = torch.cat([torch.eye(4).repeat(3, 1), -torch.ones(5, 4)]).to(dtype)
    points += 0.05 * torch.randn(17, 4, generator=generator).to(dtype)
    points.requires_grad_()
    labels = torch.arange(17) % 2
    got = propagate(points, labels, torch.arange(9), torch.arange(9, 17), num_labels=2, bandwidth=0.04, solver=solver)
    shares = torch.bincount(labels[:9]).to(dtype) / 9
    torch.testing.assert_close(got[3:], shares.expand(5, 2), rtol=1e-3, atol=1e-3)
    propagation_loss(got, labels[9:]).backward()
    assert points.grad is not None
    assert not points.grad[12:].any()
    assert points.grad[:12].any()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"class_mass": torch.ones(2)}, r"shape \(3,\), got \(2,\)"),
        ({"class_mass": torch.tensor([1.0, -1.0, 1.0])}, "not negative"),
        ({"class_mass": torch.zeros(3)}, "class_mass"),
        ({"solver": "cholesky"}, "auto, direct, matrix-free, got 'cholesky'"),
        ({"solver": "matrix-free", "transition": "released"}, "needs the transition 'row'"),
        ({"bandwidth": torch.tensor(-1.0)}, "positive"),
    ],
)
def test_refuses_settings_that_make_no_sense(arguments: dict, message: str) -> None:
    embeddings, labels = batch(6)
    with pytest.raises(ValueError, match=message):
        propagate(embeddings, labels, *split(6, 3), **{"num_labels": 3, "bandwidth": 1.0} | arguments)
    with pytest.raises(ValueError, match="sum to 1"):
        propagate(embeddings, torch.ones(6, 3), *split(6, 3), num_labels=3, bandwidth=1.0)
    broken = embeddings.index_fill(0, torch.tensor([2]), math.nan)
    for normalize in (True, False):
        with pytest.raises(ValueError, match="1 of 6 rows"):
            propagate(broken, labels, *split(6, 3), num_labels=3, bandwidth=1.0, normalize=normalize)
    with pytest.raises(ValueError, match="must have 3 columns"):
        propagate(embeddings, torch.ones(6, 2), *split(6, 3), num_labels=3, bandwidth=1.0)
