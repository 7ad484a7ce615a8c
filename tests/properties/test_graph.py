"""What holds for any batch."""

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from graphloss import GLoss
from graphloss.graph import propagate, split_batch

SEEDS = st.integers(0, 2**31)
TRANSITIONS = st.sampled_from(["row", "released"])


def draw(documents: int, classes: int, seed: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    embeddings = torch.randn(documents, 6, generator=generator, dtype=torch.float64)
    return embeddings, torch.randint(0, classes, (documents,), generator=generator)


@settings(max_examples=60, deadline=None)
@given(
    documents=st.integers(2, 20),
    labelled=st.integers(1, 19),
    sigma=st.floats(0.05, 20),
    transition=TRANSITIONS,
    seed=SEEDS,
)
def test_rows_are_distributions(documents: int, labelled: int, sigma: float, transition: str, seed: int) -> None:
    labelled = min(labelled, documents - 1)
    embeddings, labels = draw(documents, 4, seed)
    got = propagate(
        embeddings,
        labels,
        torch.arange(labelled),
        torch.arange(labelled, documents),
        num_labels=4,
        bandwidth=sigma,
        transition=transition,
    )
    assert (got >= 0).all()
    torch.testing.assert_close(got.sum(1), torch.ones(documents - labelled, dtype=torch.float64), rtol=1e-6, atol=1e-6)
    absent = torch.bincount(labels[:labelled], minlength=4) == 0
    assert (got[:, absent] == 0).all()


@settings(max_examples=40, deadline=None)
@given(seed=SEEDS, transition=st.sampled_from(["row", "released", "column"]))
def test_the_order_of_documents_and_the_names_of_classes_do_not_matter(seed: int, transition: str) -> None:
    embeddings, labels = draw(16, 3, seed)
    labelled, masked = torch.arange(9), torch.arange(9, 16)
    arguments = {"num_labels": 3, "bandwidth": 0.7, "transition": transition, "teleport": 1e-3}
    got = propagate(embeddings, labels, labelled, masked, **arguments)
    generator = torch.Generator().manual_seed(seed)
    order = torch.randperm(16, generator=generator)
    back = order.argsort()
    moved = propagate(embeddings[order], labels[order], back[labelled], back[masked], **arguments)
    torch.testing.assert_close(moved, got)
    names = torch.randperm(3, generator=generator)
    renamed = propagate(embeddings, names[labels], labelled, masked, **arguments)
    torch.testing.assert_close(renamed[:, names], got)


@settings(max_examples=60, deadline=None)
@given(
    documents=st.integers(1, 24),
    classes=st.integers(1, 6),
    sigma=st.sampled_from([0.01, 0.05, 0.3, 1.0, 50.0]),
    scale=st.sampled_from([0.0, 1e-30, 1e-6, 1.0, 1e6, 1e30]),
    duplicates=st.booleans(),
    dtype=st.sampled_from([torch.float32, torch.float64]),
    transition=st.sampled_from(["row", "released", "column"]),
    seed=SEEDS,
)
def test_loss_and_gradient_are_finite(
    documents: int,
    classes: int,
    sigma: float,
    scale: float,
    duplicates: bool,
    dtype: torch.dtype,
    transition: str,
    seed: int,
) -> None:
    embeddings, labels = draw(documents, classes, seed)
    embeddings = (embeddings * scale).to(dtype)
    if duplicates:
        embeddings[documents // 2 :] = embeddings[0]
    embeddings.requires_grad_()
    loss = GLoss(classes, bandwidth=sigma, transition=transition, seed=seed)(embeddings, labels)
    loss.backward()
    assert torch.isfinite(loss)
    assert loss > -1e-6 or transition == "column"  # there, a column of T sums to one and f can exceed one
    assert embeddings.grad is not None
    assert not embeddings.grad.isnan().any()


@settings(max_examples=60, deadline=None)
@given(documents=st.integers(0, 60), classes=st.integers(1, 10), fraction=st.floats(0, 1), seed=SEEDS)
def test_masks_part_the_documents(documents: int, classes: int, fraction: float, seed: int) -> None:
    _, labels = draw(documents, classes, seed)
    labels[::5] = -100
    [(labelled, masked)] = split_batch(labels, fraction, "stratified", torch.Generator().manual_seed(seed))
    together = torch.cat([labelled, masked]).sort().values
    assert together.tolist() == torch.nonzero(labels != -100).squeeze(1).tolist()
    present = set(labels[labelled].tolist())
    if len(present) < len(labelled):  # as many labels are kept as there are classes at least
        assert set(labels[masked].tolist()) <= present
