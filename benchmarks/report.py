"""What a benchmark does with its figures: hold them against what is promised, print them, keep them, draw them."""

import argparse
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from graphloss.training.run_directory import describe_environment, write_json

ROOT = Path(__file__).parents[1]


class Bound(NamedTuple):
    """A promise and what was measured.

    Attributes:
        text: what is promised.
        value: what was measured.
        bound: what it is held against.
        at_least: whether the bound is a lower one.
    """

    text: str
    value: float
    bound: float
    at_least: bool = False

    @property
    def met(self) -> bool:
        """Whether the promise is kept."""
        return self.value >= self.bound if self.at_least else self.value <= self.bound

    def __str__(self) -> str:
        """One line of a table."""
        side = "at least" if self.at_least else "at most"
        return f"{self.text:<64}{self.value:12.4g}   {side} {self.bound:<8.4g}{'met' if self.met else 'MISSED'}"


class State:
    """What is finished of a long run, kept in a file, so that the run can be broken off and go on.

    Args:
        path: of the file; None to keep nothing.
    """

    def __init__(self, path: Path | None) -> None:
        """Read what is there."""
        self.path = path
        self.done: dict[str, Any] = json.loads(path.read_text()) if path and path.exists() else {}

    def once(self, name: str, measure: Callable[[], Any]) -> Any:
        """What was measured under a name, measured now where it is not there yet."""
        if name not in self.done:
            self.done[name] = measure()
            if self.path:
                self.path.parent.mkdir(parents=True, exist_ok=True)
                write_json(self.path, self.done)
            progress(f"{name} done")
        return self.done[name]


def arguments(text: str, *, resumes: bool = False) -> argparse.ArgumentParser:
    """A parser with the flags that the benchmarks have in common."""
    parser = argparse.ArgumentParser(description=text, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    parser.add_argument("--quick", action="store_true", help="Few repetitions, for a first look; write nothing.")
    if resumes:
        parser.add_argument("--state", type=Path, help="File that keeps what is finished, for a run that is resumed.")
    return parser


def progress(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def conclude(name: str, results: dict[str, Any], bounds: list[Bound], options: argparse.Namespace) -> bool:
    """Print the bounds and, unless all was quick, write results/NAME.json, or results/NAME_cuda.json.

    Returns:
        Whether there is something to draw: the figures are those of the CPU.
    """
    for bound in bounds:
        print(bound)
    if options.quick:
        return False
    results["bounds"] = [bound._asdict() | {"met": bound.met} for bound in bounds]
    file = name if options.device == "cpu" else f"{name}_cuda"
    write_json(ROOT / "results" / f"{file}.json", results | {"environment": describe_environment(0, options.device)})
    return options.device == "cpu"


def new_figure(panels: int = 1, size: tuple[float, float] = (7, 4)) -> tuple[Any, Any]:
    """A figure of matplotlib and its axes, a list of them where there are several panels."""
    import matplotlib

    matplotlib.use("svg")
    from matplotlib import pyplot

    matplotlib.rcParams |= {"svg.hashsalt": "graphloss", "font.family": "sans-serif", "svg.fonttype": "none"}
    figure, axes = pyplot.subplots(ncols=panels, figsize=size, layout="tight" if panels > 1 else None)
    for each in figure.axes:
        each.spines[["top", "right"]].set_visible(False)
    return figure, axes


def save_figure(figure: Any, name: str) -> None:
    """Write docs/NAME.svg, the same bytes for the same figures."""
    figure.savefig(ROOT / "docs" / f"{name}.svg", bbox_inches="tight", metadata={"Date": None})
