import pytest
import torch

from graphloss import GLoss
from graphloss.graph import propagate, propagation_loss
from graphloss.graph.questions import Classes, Members


def test_the_answer_is_shared_by_the_labelled_members_of_the_class() -> None:
    labels = torch.tensor([0, 1, 0, 0, 2, -100])
    remembered = (torch.zeros(2, 3), torch.tensor([1, 0]))
    members = Members(Classes(labels, 3, torch.tensor([1.0, 4.0, 1.0]), remembered), torch.float64)
    answer = members.answer(torch.tensor([0, 2]), torch.tensor([3, 1, 4]))
    third = 1.0 / 3.0
    expected = [[third, 0, third, 0, 0, 0, 0, third], [0, 0, 0, 0, 0, 0, 4, 0], [0] * 8]
    torch.testing.assert_close(answer, torch.tensor(expected, dtype=torch.float64))
    assert members.memory is not None
    own = torch.cat([members.labels, members.memory[1]])
    torch.testing.assert_close(own, torch.eye(8, dtype=torch.float64))


def test_classes_as_distributions_ask_the_same() -> None:
    labels = torch.tensor([0, 1, 0, -100, 1])
    rows = torch.eye(2)[labels.clamp_min(0)]
    rows[3] = float("nan")
    labelled, masked = torch.tensor([0, 1]), torch.tensor([2, 4])
    answers = [
        Members(Classes(given, 2, None, None), torch.float32).answer(labelled, masked) for given in (labels, rows)
    ]
    torch.testing.assert_close(*answers)


def test_one_near_member_is_enough_for_the_class_and_not_for_the_members() -> None:
    arrives = torch.tensor([[0.98, 0.02, 0.0], [0.5, 0.5, 0.0]])
    answer = torch.tensor([[0.5, 0.5, 0.0], [0.5, 0.5, 0.0]])
    uneven, even = (propagation_loss(arrives[[i]], answer[[i]], objective="members") for i in range(2))
    assert even == pytest.approx(0.0, abs=1e-6)
    assert uneven > 0.5
    by_class = torch.stack([arrives[:, :2].sum(dim=1), arrives[:, 2]], dim=1)
    assert propagation_loss(by_class, torch.zeros(2, dtype=torch.int64)) == pytest.approx(0.0, abs=1e-6)


def test_members_need_rows() -> None:
    with pytest.raises(ValueError, match=r"needs labels of shape \(e, C\), got \(2,\)"):
        propagation_loss(torch.ones(2, 3) / 3, torch.tensor([0, 1]), objective="members")


def test_walks_of_one_step_make_it_the_supervised_contrastive_loss() -> None:
    """With every document masked alone no walk is longer, and the Gaussian of width sigma is the exponential of a
    cosine at temperature sigma squared; it only begins at zero."""
    library = pytest.importorskip("pytorch_metric_learning.losses")
    generator = torch.Generator().manual_seed(0)
    embeddings = torch.randn(12, 6, generator=generator, dtype=torch.float64, requires_grad=True)
    labels = torch.arange(12) % 3
    settings = {"masking": "folds", "labelled_fraction": 11 / 12, "teleport": 0.0, "bandwidth": 0.5}
    ours = GLoss(3, objective="members", **settings)(embeddings, labels)
    theirs = library.SupConLoss(temperature=0.25)(embeddings, labels)
    torch.testing.assert_close(ours, theirs - torch.tensor(3.0).log())
    gradients = [torch.autograd.grad(value, embeddings)[0] for value in (ours, theirs)]
    torch.testing.assert_close(*gradients)


def test_it_is_propagation_of_a_label_for_each_document() -> None:
    generator = torch.Generator().manual_seed(0)
    embeddings, labels = torch.randn(20, 6, generator=generator), torch.arange(20) % 3
    loss = GLoss(3, objective="members", masking="folds", labelled_fraction=0.5, bandwidth=0.5, seed=3).eval()
    divergences = []
    loss(embeddings, labels)
    assert loss._progress.last is not None
    for labelled, masked in loss._progress.last.splits:
        places = torch.eye(20)
        arrives = propagate(embeddings, places, labelled, masked, num_labels=20, bandwidth=0.5, teleport=loss.teleport)
        for row, document in zip(arrives, masked, strict=True):
            members = [j for j in labelled.tolist() if labels[j] == labels[document]]
            divergences.append(-(row[members] * len(members)).log().mean())
    torch.testing.assert_close(loss(embeddings, labels), torch.stack(divergences).mean())
