from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from graphloss import GLoss
from graphloss.graph import (
    bandwidth_dicm,
    bandwidth_loo,
    bandwidth_sqrt,
    local_widths,
    propagate,
    propagation_loss,
    split_batch,
)


def batch(documents: int = 32, classes: int = 4, dimension: int = 16, seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(documents) % classes
    embeddings = torch.randn(classes, dimension, generator=generator)[labels]
    return embeddings + torch.randn(documents, dimension, generator=generator), labels


def test_is_propagation_over_the_mask_of_seed_and_step() -> None:
    embeddings, labels = batch()
    loss = GLoss(4, bandwidth=0.6, seed=5)
    loss.step = 7
    got = loss(embeddings, labels)
    generator = torch.Generator().manual_seed(5 * 1_000_003 + 7)
    [(labelled, masked)] = split_batch(labels, 0.7, "stratified", generator)
    propagated = propagate(embeddings, labels, labelled, masked, num_labels=4, bandwidth=0.6, teleport=1e-4)
    torch.testing.assert_close(got, propagation_loss(propagated, labels[masked]))
    assert loss.step == 8


def test_the_mask_changes_with_the_step_and_not_in_evaluation() -> None:
    embeddings, labels = batch()
    loss = GLoss(4)
    assert loss(embeddings, labels) != loss(embeddings, labels)
    loss.eval()
    assert loss(embeddings, labels) == loss(embeddings, labels)


@pytest.mark.parametrize("rule", ["sqrt", "dicm"])
def test_rules_compute_the_width_from_the_batch(rule: str) -> None:
    embeddings, labels = batch()
    loss = GLoss(4, bandwidth=rule).eval()
    by_rule = loss(embeddings, labels)
    width = bandwidth_sqrt(embeddings) if rule == "sqrt" else bandwidth_dicm(embeddings, labels)
    assert loss.diagnostics["bandwidth"] == pytest.approx(width)
    torch.testing.assert_close(by_rule, GLoss(4, bandwidth=width).eval()(embeddings, labels))


def test_descending_it_separates_the_classes() -> None:
    embeddings, labels = batch()
    embeddings.requires_grad_()
    optimizer = torch.optim.Adam([embeddings], lr=0.05)
    loss = GLoss(4)
    values = []
    for _ in range(60):
        optimizer.zero_grad()
        value = loss(embeddings, labels)
        value.backward()
        optimizer.step()
        values.append(value.item())
    assert np.mean(values[-5:]) < 0.5 * np.mean(values[:5])
    unit = torch.nn.functional.normalize(embeddings.detach())
    similarity = unit @ unit.T
    same = (labels[:, None] == labels) & ~torch.eye(32, dtype=torch.bool)
    assert similarity[same].min() > similarity[labels[:, None] != labels].max()


def test_documents_without_a_label_are_nodes() -> None:
    """They change what is propagated, receive gradients, and are counted."""
    embeddings, labels = batch()
    hidden = labels.clone()
    hidden[:8] = -100
    embeddings.requires_grad_()
    loss = GLoss(4, bandwidth=0.7)
    loss(embeddings, hidden).backward()
    assert embeddings.grad is not None
    assert (embeddings.grad[:8].abs().sum(1) > 0).all()
    assert loss.diagnostics["unlabelled"] == 8
    assert loss.diagnostics["labelled"] + loss.diagnostics["masked"] == 24
    loss.step = 0
    assert loss(embeddings, hidden) != loss(embeddings[8:], labels[8:])


def test_orphans_are_counted_and_left_out() -> None:
    embeddings, _ = batch(8)
    labels = torch.arange(8)
    loss = GLoss(8, masking="random")
    value = loss(embeddings.requires_grad_(), labels)
    assert value.item() == 0.0
    value.backward()
    assert loss.diagnostics["orphans"] == loss.diagnostics["masked"] == 2
    assert loss.diagnostics["evaluated"] == 0


@pytest.mark.parametrize("labels", [[0], [-100], [-100, -100], [], [0, -100]])
def test_a_batch_that_teaches_nothing_costs_a_connected_zero(labels: list[int]) -> None:
    embeddings = torch.randn(len(labels), 4, requires_grad=True)
    value = GLoss(2)(embeddings, torch.tensor(labels, dtype=torch.int64))
    value.backward()
    assert value.item() == 0.0
    assert embeddings.grad is not None
    assert embeddings.grad.abs().sum() == 0.0


@pytest.mark.parametrize("objective", ["nll", "members", "released", "released-combined"])
@pytest.mark.parametrize("transition", ["row", "released", "column"])
def test_every_form_gives_finite_gradients(objective: str, transition: str) -> None:
    embeddings, labels = batch()
    embeddings.requires_grad_()
    weights = torch.tensor([1.0, 2.0, 0.5, 1.0])
    loss = GLoss(4, objective=objective, transition=transition, class_weights=weights)
    loss(embeddings, labels).backward()
    assert embeddings.grad is not None
    assert torch.isfinite(embeddings.grad).all()
    assert embeddings.grad.abs().sum() > 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"bandwidth": 0.0}, "bandwidth"),
        ({"bandwidth": float("nan")}, "bandwidth"),
        ({"bandwidth": "wide"}, "bandwidth"),
        ({"labelled_fraction": 1.2}, "labelled_fraction"),
        ({"teleport": -0.1}, "teleport"),
        ({"transition": "softmax"}, "transition"),
        ({"masking": "none"}, "masking"),
        ({"objective": "mse"}, "objective"),
        ({"class_weights": torch.ones(3)}, "class_weights"),
    ],
)
def test_refuses_what_is_undefined_when_it_is_made(arguments: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        GLoss(2, **arguments)


def test_refuses_labels_out_of_range() -> None:
    with pytest.raises(ValueError, match=r"\[0, 2\), found 5"):
        GLoss(2)(torch.randn(3, 4), torch.tensor([0, 1, 5]))


@pytest.mark.parametrize("rule", ["loo", "local"])
def test_more_rules_compute_the_width_from_the_batch(rule: str) -> None:
    embeddings, labels = batch()
    loss = GLoss(4, bandwidth=rule).eval()
    by_rule = loss(embeddings, labels)
    width = bandwidth_loo(embeddings, labels) if rule == "loo" else local_widths(embeddings)
    assert loss.diagnostics["bandwidth"] == pytest.approx(float(torch.as_tensor(width).log().mean().exp()))
    [(labelled, masked)] = split_batch(labels, 0.7, "stratified", torch.Generator().manual_seed(0))
    propagated = propagate(embeddings, labels, labelled, masked, num_labels=4, bandwidth=width, teleport=1e-4)
    torch.testing.assert_close(by_rule, propagation_loss(propagated, labels[masked]))


def test_a_learned_width_is_a_parameter_that_finds_a_better_one() -> None:
    embeddings, labels = batch(64)
    loss = GLoss(4, bandwidth="learned")
    (parameter,) = loss.parameters()
    optimizer = torch.optim.Adam([parameter], lr=0.05)
    first = float(parameter.detach().exp())
    for _ in range(60):
        optimizer.zero_grad()
        loss(embeddings, labels).backward()
        optimizer.step()
    assert loss.diagnostics["bandwidth"] != pytest.approx(first, rel=0.1)
    means = []
    for width in (first, float(parameter.detach().exp())):
        judge = GLoss(4, bandwidth=width)
        means.append(np.mean([judge(embeddings, labels).item() for _ in range(20)]))
    assert means[1] < means[0]


def test_folds_are_the_mean_over_all_documents() -> None:
    embeddings, labels = batch(30, classes=3)
    loss = GLoss(3, masking="folds", bandwidth=0.6)
    got = loss(embeddings, labels)
    splits = split_batch(labels, 0.7, "folds", torch.Generator().manual_seed(0))
    assert len(splits) == 3
    terms = []
    for labelled, masked in splits:
        propagated = propagate(embeddings, labels, labelled, masked, num_labels=3, bandwidth=0.6, teleport=1e-4)
        terms.append(propagation_loss(propagated, labels[masked]))
    torch.testing.assert_close(got, torch.stack(terms).mean())
    figures = loss.diagnostics
    assert (figures["labelled"], figures["masked"], figures["evaluated"], figures["orphans"]) == (20, 10, 30, 0)


@pytest.mark.parametrize("objective", ["nll", "members"])
def test_a_memory_is_labelled_nodes_that_take_no_gradient(objective: str) -> None:
    first, labels = batch(16)
    second, _ = batch(16, seed=1)
    loss = GLoss(4, memory_size=16, bandwidth=0.6, objective=objective)
    loss(first, labels)
    second.requires_grad_()
    got = loss(second, labels)
    assert loss.diagnostics["memory"] == 16
    [(labelled, masked)] = split_batch(labels, 0.7, "stratified", torch.Generator().manual_seed(1))
    both = torch.cat([second, first])
    everything = torch.cat([labels, labels])
    kept = torch.cat([labelled, torch.arange(16, 32)])
    given, answer = everything, labels[masked]
    if objective == "members":
        given = torch.eye(32)
        answer = (answer[:, None] == everything) * torch.isin(torch.arange(32), kept)
        answer = answer / answer.sum(dim=1, keepdim=True)
    number = 4 if objective == "nll" else 32
    propagated = propagate(both, given, kept, masked, num_labels=number, bandwidth=0.6, teleport=1e-4)
    expected = propagation_loss(propagated, answer, objective=objective)
    torch.testing.assert_close(got, expected)
    gradients = [torch.autograd.grad(value, second)[0] for value in (got, expected)]
    torch.testing.assert_close(*gradients)


def test_a_memory_saves_orphans_ages_and_is_forgotten() -> None:
    embeddings, _ = batch(8)
    labels = torch.arange(8)
    loss = GLoss(8, memory_size=8, memory_age=2)
    loss(embeddings, labels)
    assert loss.diagnostics["orphans"] == 2
    assert loss(embeddings, labels) > 0
    assert loss.diagnostics["orphans"] == 0
    loss.step += 3
    loss(embeddings, labels)
    assert loss.diagnostics["memory"] == 0
    loss.forget()
    loss(embeddings, labels)
    assert loss.diagnostics["memory"] == 0
    loss.eval()
    loss(embeddings, labels)
    loss(embeddings, labels)
    assert loss.diagnostics["memory"] == 8  # evaluation looks, and adds nothing


@pytest.mark.parametrize("settings", [{"memory_size": 20}, {"bandwidth": "learned"}, {}])
def test_its_state_goes_on_where_it_stopped(settings: dict, tmp_path: Path) -> None:
    whole, cut = GLoss(4, **settings), GLoss(4, **settings)
    batches = [batch(12, seed=seed) for seed in range(4)]
    expected = [whole(*each) for each in batches]
    for each in batches[:2]:
        cut(*each)
    torch.save(cut.state_dict(), tmp_path / "state.pt")
    resumed = GLoss(4, **settings)
    resumed.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True))
    assert resumed.step == 2
    torch.testing.assert_close([resumed(*each) for each in batches[2:]], expected[2:])


@pytest.mark.parametrize("objective", ["nll", "members"])
def test_distributions_of_one_class_are_that_class(objective: str) -> None:
    embeddings, labels = batch()
    hidden = labels.clone()
    hidden[::5] = -100
    rows = torch.eye(4)[labels]
    rows[::5] = float("nan")
    values, gradients, figures = [], [], []
    for targets, given in (("class", hidden), ("distribution", rows)):
        x = embeddings.clone().requires_grad_()
        loss = GLoss(4, targets=targets, objective=objective)
        values.append(loss(x, given))
        values[-1].backward()
        gradients.append(x.grad)
        figures.append(loss.diagnostics)
    torch.testing.assert_close(*values)
    torch.testing.assert_close(*gradients)
    assert figures[0] == pytest.approx(figures[1])
    assert figures[0]["unlabelled"] == 7
    soft = GLoss(4, targets="distribution", objective=objective)(embeddings, torch.softmax(rows, dim=1))
    assert soft != values[0]


def test_effective_neighbours_are_between_one_and_all() -> None:
    embeddings, labels = batch()
    counts = []
    for width in (0.004, 0.5, 100.0):
        loss = GLoss(4, bandwidth=width)
        loss(embeddings, labels)
        counts.append(loss.diagnostics["effective_neighbours"])
    assert counts[0] == pytest.approx(1.0, abs=0.05)
    assert counts[0] < counts[1] < counts[2]
    assert counts[2] == pytest.approx(31, abs=0.05)


@pytest.mark.parametrize(
    "settings", [{}, {"transition": "released"}, {"solver": "matrix-free"}, {"objective": "members"}]
)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_autocast_changes_nothing(settings: dict, dtype: torch.dtype) -> None:
    embeddings, labels = batch()
    values, gradients = [], []
    for enabled in (False, True):
        x = embeddings.clone().requires_grad_()
        with torch.autocast("cpu", dtype=dtype, enabled=enabled):
            value = GLoss(4, **settings)(x, labels)
        value.backward()
        values.append(value)
        gradients.append(x.grad)
    torch.testing.assert_close(*values)
    torch.testing.assert_close(*gradients)


@pytest.mark.filterwarnings("ignore")  # dynamo's own
@pytest.mark.parametrize(
    "settings", [{}, {"masking": "folds"}, {"memory_size": 8}, {"bandwidth": "learned"}, {"objective": "members"}]
)
def test_a_compiled_step_gives_the_same(settings: dict) -> None:
    """The loss is a call out of the compiled graph, whose other parts are compiled."""
    embeddings, labels = batch()
    results = []
    for compiled in (False, True):
        torch.manual_seed(0)
        layer, loss = torch.nn.Linear(16, 8), GLoss(4, **settings)

        def step(x: Tensor, y: Tensor, layer: torch.nn.Module = layer, loss: GLoss = loss) -> Tensor:
            return 0.5 * loss(torch.tanh(layer(x)), y)

        value = (torch.compile(step, backend="aot_eager") if compiled else step)(embeddings, labels)
        value.backward()
        results.append((value, layer.weight.grad))
    torch.testing.assert_close(*results)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"memory_size": 8, "transition": "released"}, "memory_size 8 needs transition 'row', got 'released'"),
        ({"memory_size": 8, "transition": "column"}, "memory_size 8 needs transition 'row', got 'column'"),
        ({"memory_size": 8, "bandwidth": "local"}, "memory_size 8 and bandwidth 'local'"),
        ({"memory_size": -1}, "memory_size must be at least 0, got -1"),
        ({"memory_age": 0}, "memory_age must be at least 1, got 0"),
        ({"num_labels": 0}, "num_labels must be at least 1, got 0"),
        ({"targets": "soft"}, "targets must be one of class, distribution, got 'soft'"),
        ({"solver": "qr"}, "solver must be one of auto, direct, matrix-free"),
        ({"solver": "matrix-free", "transition": "column"}, "needs transition 'row'"),
        ({"masking": "folds", "labelled_fraction": 1.0}, "labelled_fraction below 1, got 1"),
    ],
)
def test_refuses_what_makes_no_sense_together_when_it_is_made(arguments: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        GLoss(**{"num_labels": 2} | arguments)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (torch.tensor([0, 1, 1]), "needs labels of shape"),
        (torch.ones(3, 2), "sum to 1"),
        (torch.tensor([[0.5, 0.5], [1.5, -0.5], [1.0, 0.0]]), "sum to 1"),
        (torch.full((3, 5), 0.2), "must have 2 columns"),
        (torch.tensor([[0.5, float("nan")], [0.5, 0.5], [1.0, 0.0]]), "sum to 1"),
    ],
)
def test_refuses_labels_that_are_no_distributions(labels: Tensor, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        GLoss(2, targets="distribution")(torch.randn(3, 4), labels)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize(
    "settings",
    [{}, {"solver": "matrix-free"}, {"memory_size": 16}, {"masking": "folds"}, {"transition": "released"}]
    + [{"objective": "members"}]
    + [{"bandwidth": rule} for rule in ("dicm", "loo", "local", "learned")],
)
def test_a_cuda_device_gives_what_the_cpu_gives(settings: dict) -> None:
    embeddings, labels = batch(64)
    results = []
    for device in ("cpu", "cuda"):
        x, loss = embeddings.to(device).requires_grad_(), GLoss(4, **settings).to(device)
        for _ in range(2):
            value = loss(x, labels.to(device))
        value.backward()
        results.append((value.cpu(), x.grad.cpu()))
    torch.testing.assert_close(*results, rtol=1e-3, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("bandwidth", [0.6, "sqrt", "dicm", "loo", "local", "learned"])
@pytest.mark.parametrize("transition", ["row", "released", "column"])
@pytest.mark.parametrize("objective", ["nll", "members", "released", "released-combined"])
@pytest.mark.parametrize("masking", ["stratified", "random", "folds"])
@pytest.mark.parametrize("targets", ["class", "distribution"])
def test_gradient_by_finite_differences(
    bandwidth: float | str, transition: str, objective: str, masking: str, targets: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With sigma held where the rule puts it, for it has no gradient; but for the learned one, which does."""
    embeddings, labels = batch(12, classes=3, dimension=4)
    embeddings = embeddings.double().requires_grad_()
    given = labels if targets == "class" else torch.softmax(3.0 * torch.eye(3)[labels].double(), dim=1)
    settings = {"transition": transition, "objective": objective, "masking": masking, "targets": targets}
    loss = GLoss(3, bandwidth=bandwidth, teleport=1e-3, **settings).double().eval()
    inputs = [embeddings, *loss.parameters()]
    if bandwidth != "learned":
        width = loss._width(embeddings, given, alone=False)
        monkeypatch.setattr(loss, "_width", lambda *_, **__: width)
    assert torch.autograd.gradcheck(lambda x, *_: loss(x, given), inputs)


def test_class_mass_gives_all_nodes_the_shares_of_the_labelled() -> None:
    generator = torch.Generator().manual_seed(0)
    embeddings = torch.randn(60, 8, generator=generator, dtype=torch.float64, requires_grad=True)
    labels = torch.tensor([0] * 16 + [1] * 4 + [-100] * 40)
    plain, weighed = GLoss(3, seed=1), GLoss(3, seed=1, class_mass=True)
    assert weighed(embeddings, labels) != plain(embeddings, labels)
    [(labelled, masked)] = split_batch(labels, 0.7, "stratified", torch.Generator().manual_seed(1_000_003))
    shares = torch.bincount(labels[labelled], minlength=3) / len(labelled)
    expected = propagate(
        embeddings,
        labels,
        labelled,
        masked,
        num_labels=3,
        bandwidth=bandwidth_sqrt(embeddings),
        teleport=1e-4,
        class_mass=shares.double(),
    )
    assert weighed.diagnostics["graph_loss"] == pytest.approx(
        float(propagation_loss(expected, labels[masked]).detach())
    )
    weighed(embeddings, labels).backward()
    assert embeddings.grad is not None
    assert embeddings.grad.isfinite().all()  # also with a third class, which has no mass to divide by
    torch.testing.assert_close(
        GLoss(3, seed=1, class_mass=True)(embeddings[:20], labels[:20]), GLoss(3, seed=1)(embeddings[:20], labels[:20])
    )
