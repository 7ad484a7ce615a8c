"""What a batch's graph was like: worked out when somebody asks, from the little that is kept of the batch."""

from typing import Any, NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from graphloss.graph.affinity import full_precision, scale_to_unit, transition_rows
from graphloss.graph.masking import Split

SAMPLE = 256


class Batch(NamedTuple):
    """What the diagnostics of a batch are worked out from; nothing here was read off the device.

    Attributes:
        loss: scalar, detached.
        embeddings: (B, d), detached.
        classes: (B,) int64 on the CPU, -100 where there is no label.
        splits: labelled and masked row numbers, one pair a propagation.
        memory: (m, d) and the labels of the labelled nodes of earlier batches.
        report: what propagation reported: "bandwidth", and after a backward pass "saturated".
    """

    loss: Tensor
    embeddings: Float[Tensor, "B d"]
    classes: Int[Tensor, " B"]
    splits: list[Split]
    memory: tuple[Tensor, Tensor] | None
    report: dict[str, Any]


def diagnose(batch: Batch, *, transition: str, leaves_orphans: bool) -> dict[str, float]:
    """The figures that `GLoss.diagnostics` describes.

    Args:
        batch: the batch.
        transition: of its graph.
        leaves_orphans: whether documents whose class has no labelled member leave the mean.
    """
    counts = {"labelled": 0.0, "masked": 0.0, "evaluated": 0.0, "orphans": 0.0}
    for labelled, masked in batch.splits:
        orphans = _orphans(batch, labelled, masked)
        counts["labelled"] += len(labelled) / len(batch.splits)
        counts["masked"] += len(masked) / len(batch.splits)
        counts["orphans"] += orphans
        counts["evaluated"] += len(masked) - orphans * leaves_orphans
    width = batch.report["bandwidth"]
    return {
        "graph_loss": float(batch.loss),
        "bandwidth": float(width.log().mean().exp() if isinstance(width, Tensor) else width),
        "graph_size": len(batch.classes),
        **counts,
        "unlabelled": int((batch.classes == -100).sum()),
        "memory": 0 if batch.memory is None else len(batch.memory[0]),
        "effective_neighbours": _effective_neighbours(batch, transition) if batch.splits else float("nan"),
        "saturated": sum(int(count) for count in batch.report.get("saturated", {}).values()),
    }


def _orphans(batch: Batch, labelled: Tensor, masked: Tensor) -> int:
    given = batch.classes[labelled.cpu()]
    if batch.memory is not None:
        remembered = batch.memory[1].cpu()
        given = torch.cat([given, remembered if remembered.ndim == 1 else remembered.argmax(dim=1)])
    return int((~torch.isin(batch.classes[masked.cpu()], given)).sum())


def _effective_neighbours(batch: Batch, transition: str) -> float:
    with full_precision(batch.embeddings):
        points = scale_to_unit(batch.embeddings)
        if batch.memory is not None:
            points = torch.cat([points, batch.memory[0].to(points)])
        masked = torch.cat([masked for _, masked in batch.splits])[:SAMPLE]
        rows = transition_rows(points, masked, batch.report["bandwidth"], transition)
        rows = rows / rows.sum(dim=1, keepdim=True)
        return float(torch.xlogy(rows, rows).sum(dim=1).neg().exp().mean())
