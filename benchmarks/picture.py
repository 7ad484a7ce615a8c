"""Pictures of a batch graph: before and after training, and at three kernel widths.

Run `python benchmarks/picture.py RUN`, RUN being a run directory with a record: for the pictures in docs/ the
one of G-Loss, seed 1, of plans/minilm.yaml. Draws docs/batch-graph.svg and docs/widths.svg.
"""

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import torch
from report import new_figure, save_figure

from graphloss.graph.affinity import scale_to_unit, transition_rows
from graphloss.graph.bandwidth import bandwidth_sqrt
from graphloss.report.moments import batch_graphs
from graphloss.report.of_run import FinishedRun

COLOURS, MARKERS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7"), "osD^"
HEARD = 128  # documents of which it is drawn what they hear of each other
FACTORS = (0.1, 0.4, 1.0)  # of the width that the rule sqrt gives


def draw_training(graphs: dict[str, Any]) -> None:
    """The strongest edges among the same documents, before the first step and after the last."""
    figure, axes = new_figure(panels=2, size=(9, 4))
    labels = np.asarray(graphs["labels"])
    for panel, moment, name in zip(
        axes, (graphs["moments"][0], graphs["moments"][-1]), ("before", "after"), strict=True
    ):
        places = np.asarray(moment["places"])
        for one, other in moment["edges"]:
            same = labels[one] == labels[other]
            style = {"color": "#999999", "linewidth": 0.6} if same else {"color": "#c00000", "linewidth": 0.8}
            panel.plot(*places[[one, other]].T, zorder=1, linestyle="-" if same else "--", **style)
        for label in np.unique(labels):
            own = places[labels == label]
            look = {"color": COLOURS[label % len(COLOURS)], "marker": MARKERS[label // len(COLOURS) % len(MARKERS)]}
            panel.scatter(*own.T, s=22, zorder=2, edgecolors="white", **look)
        panel.set_title(f"{name} training: {moment['inside']:.0%} of the weight inside classes", fontsize=10)
        panel.set_axis_off()
    save_figure(figure, "batch-graph")


def draw_widths(points: torch.Tensor, labels: np.ndarray) -> None:
    """What each document hears of each, documents ordered by class, at three kernel widths."""
    figure, axes = new_figure(panels=3, size=(9, 3.4))
    width = bandwidth_sqrt(points)
    for panel, factor in zip(axes, FACTORS, strict=True):
        shares = transition_rows(points, torch.arange(len(points)), factor * width)
        neighbours = torch.special.entr(shares).sum(dim=1).exp().mean()
        panel.imshow(shares.sqrt().numpy(), cmap="Blues", interpolation="none")
        name = " (sqrt)" if factor == 1.0 else ""
        inside = (shares * torch.from_numpy(labels[:, None] == labels)).sum(dim=1).mean()
        panel.set_title(
            f"width {factor * width:.2f}{name}: {neighbours:.0f} effective neighbours,\n{inside:.0%} inside classes",
            fontsize=10,
        )
        for border in np.flatnonzero(np.diff(labels)) + 0.5:
            panel.axhline(border, color="#c00000", linewidth=0.6)
            panel.axvline(border, color="#c00000", linewidth=0.6)
        panel.set_xticks([])
        panel.set_yticks([])
    save_figure(figure, "widths")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="A run directory.")
    run = FinishedRun(parser.parse_args().run)
    labels, record = run.classes("label", "validation"), run.directory.record
    graphs = batch_graphs(record, labels)
    if graphs is None:
        parser.error(f"{run.name} kept no record")
    draw_training(graphs)
    rows = np.load(record / "rows.npy")
    order = np.argsort(labels[rows[:HEARD]], kind="stable")
    last = np.load(sorted(record.glob("step-*.npy"))[-1])[order].astype(np.float32)
    draw_widths(scale_to_unit(torch.from_numpy(last)), labels[rows][order])


if __name__ == "__main__":
    main()
