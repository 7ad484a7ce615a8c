"""What the runs of a bench say together: means, intervals, tests, ranks, and what they cost."""

import csv
import json
from collections.abc import Collection
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet
from jaxtyping import Bool, Float
from scipy.stats import rankdata

from graphloss.evaluation.significance import bootstrap_interval, hierarchical_p_value, paired_p_value
from graphloss.experiments.bench import Bench
from graphloss.experiments.plan import Planned
from graphloss.experiments.published import DATA, PUBLISHED
from graphloss.training.run_directory import RunDirectory

NOT_A_METHOD = ("data", "seed", "output_dir")


@dataclass(frozen=True)
class Cell:
    """The runs of one method on one data set, over seeds.

    Attributes:
        data: the data set.
        method: what was run.
        paths: of the run directories.
    """

    data: str
    method: str
    paths: list[Path]

    @cached_property
    def metrics(self) -> list[dict[str, Any]]:
        """The metrics.json of each."""
        return [json.loads(RunDirectory(path).metrics.read_text()) for path in self.paths]

    @cached_property
    def right(self) -> Bool[np.ndarray, "S n"]:
        """Whether the head of each run was right about each test document that has a label."""
        rows = []
        for path in self.paths:
            table = pyarrow.parquet.read_table(RunDirectory(path).predictions)
            split, label, prediction = (np.asarray(table[name]) for name in ("split", "label", "prediction"))
            known = (split == "test") & (label != None)  # noqa: E711 - element by element
            rows.append(label[known] == prediction[known])
        return np.stack(rows)

    def scores(self, name: str, part: str | None = None) -> Float[np.ndarray, " S"]:
        """A score on the test documents by seed; NaN where a run has none. Under "graph" or "floor" with `part`."""
        found = [each if part is None else each.get(part, {}) for each in self.metrics]
        return np.array([each.get("test", {}).get(name, np.nan) for each in found], dtype=float)

    @cached_property
    def steps_to_best(self) -> tuple[float, float]:
        """Mean step and second of the best validation score; NaN for systems, which have no steps."""
        found = []
        for path in self.paths:
            history = RunDirectory(path).history
            lines = [json.loads(line) for line in history.read_text().splitlines()] if history.exists() else []
            key = "eval_macro_f1" if any("eval_macro_f1" in line for line in lines) else "eval_macro_silhouette"
            scored = [line for line in lines if key in line]
            best = max(scored, key=lambda line: line[key]) if scored else {"step": np.nan, "seconds": np.nan}
            found.append((best["step"], best["seconds"]))
        steps, seconds = np.array(found, dtype=float).mean(axis=0)
        return float(steps), float(seconds)


class Tables:
    """The finished runs of a bench with test documents.

    Args:
        bench: the bench.
        against: the method that others are tested against; None for the first that trains by cross-entropy alone.
    """

    def __init__(self, bench: Bench, against: str | None = None) -> None:
        grouped: dict[tuple[str, str], list[Path]] = {}
        self.shared = _shared(bench.runs)
        for run in bench.runs:
            path = bench.path(run)
            file = RunDirectory(path).metrics
            if file.exists() and "test" in json.loads(file.read_text()):
                grouped.setdefault((Path(str(run.settings["data"])).name, method_of(run, self.shared)), []).append(path)
        self.cells = {key: Cell(*key, paths) for key, paths in grouped.items()}
        self.data = list(dict.fromkeys(data for data, _ in self.cells))
        self.methods = list(dict.fromkeys(method for _, method in self.cells))
        plain = [method for method in self.methods if " ce" in f" {method}"]
        self.against = against or (plain[0] if plain else None)

    def rows(self) -> list[dict[str, Any]]:
        """A row for each data set and method."""
        return [self._row(cell) for cell in self.cells.values()]

    def _row(self, cell: Cell) -> dict[str, Any]:
        accuracy = cell.scores("accuracy")
        low, high = bootstrap_interval(cell.right)
        base = self.cells.get((cell.data, self.against or ""))
        steps, seconds = cell.steps_to_best
        return {
            "data": cell.data,
            "method": cell.method,
            "seeds": len(cell.paths),
            "accuracy": float(accuracy.mean()),
            "deviation": float(accuracy.std(ddof=1)) if len(accuracy) > 1 else float("nan"),
            "low": low,
            "high": high,
            "macro_f1": float(cell.scores("macro_f1").mean()),
            "ece": float(cell.scores("ece").mean()),
            "macro_silhouette": float(cell.scores("macro_silhouette").mean()),
            "with_graph": float(cell.scores("accuracy", "graph").mean()),
            "p_value": float("nan") if base in (None, cell) else paired_p_value(cell.right, base.right),
            "transductive": any(each.get("transductive", False) for each in cell.metrics),
            "steps_to_best": steps,
            "seconds_to_best": seconds,
            "seconds": float(np.mean([each.get("seconds", np.nan) for each in cell.metrics])),
        }

    def over_data(self) -> list[dict[str, Any]]:
        """For each method that was run on all data sets: its average rank, and the test over data sets."""
        whole = [method for method in self.methods if all((data, method) in self.cells for data in self.data)]
        if not whole:
            return []
        means = np.array(
            [[self.cells[data, method].scores("accuracy").mean() for method in whole] for data in self.data]
        )
        ranks = rankdata(-means, axis=1).mean(axis=0)
        return [
            {"method": method, "rank": float(rank), "p_value": self._against_over_data(method)}
            for method, rank in zip(whole, ranks, strict=True)
        ]

    def _against_over_data(self, method: str) -> float:
        differences = {}
        for data in self.data:
            base = self.cells.get((data, self.against or ""))
            if base is None or method == self.against:
                return float("nan")
            one, other = self.cells[data, method].scores("accuracy"), base.scores("accuracy")
            if len(one) != len(other):
                return float("nan")
            differences[data] = one - other
        return hierarchical_p_value(differences)

    def markdown(self) -> str:
        """Everything as Markdown."""
        parts = [_markdown(self.rows(), SHOWN), NOTE, _markdown(self.over_data(), OVER_DATA), _published(self.data)]
        if self.shared:
            same = ", ".join(f"{name} {value}" for name, value in self.shared.items())
            parts.insert(2, f"Alike in all runs that read it: {same}.")
        if self.against:
            parts.insert(2, f"p: paired permutation tests, over documents, against *{self.against}*.")
        return "\n\n".join(part for part in parts if part) + "\n"

    def write(self, folder: Path) -> None:
        """Write tables.md and tables.csv."""
        (folder / "tables.md").write_text(self.markdown())
        with (folder / "tables.csv").open("w", newline="") as file:
            writer = csv.DictWriter(file, list(SHOWN))
            writer.writeheader()
            writer.writerows({name: row[name] for name in SHOWN} for row in self.rows())


NOTE = (
    "Test documents; means over seeds, their standard deviation, and a 95 % interval that resamples seeds and "
    "documents, all in %. Transductive systems see the test texts when they are fitted."
)
SHOWN = {
    "data": "data", "method": "method", "seeds": "seeds", "accuracy": "accuracy", "deviation": "±", "low": "from",
    "high": "to", "macro_f1": "macro-F1", "with_graph": "with the graph", "p_value": "p", "ece": "calibration error",
    "macro_silhouette": "macro-silhouette", "steps_to_best": "steps to the best", "seconds": "seconds",
    "transductive": "transductive",
}  # fmt: skip
OVER_DATA = {"method": "method", "rank": "average rank", "p_value": "p over data sets"}
SHARES = ("accuracy", "deviation", "low", "high", "macro_f1", "with_graph", "ece")


def method_of(run: Planned, shared: Collection[str] = ()) -> str:
    """What a run is but for its data and seed: encoder, loss and set-up first; settings in `shared` are not named."""
    given = {name: value for name, value in run.settings.items() if name not in (*NOT_A_METHOD, *shared)}
    first = [str(given.pop(name)) for name in ("encoder", "loss", "setup") if name in given]
    if run.system != "encoder":
        first.insert(0, run.system)
    more = [f"{name}={value}" for name, value in sorted(given.items())]
    return " ".join([*first, *more])


def _shared(runs: list[Planned]) -> dict[str, Any]:
    """Settings that do not tell methods apart, with their one value."""
    values: dict[str, list[Any]] = {}
    for run in runs:
        for name, value in run.settings.items():
            if name not in (*NOT_A_METHOD, "encoder", "loss", "setup"):
                values.setdefault(name, []).append(value)
    same = {name: found[0] for name, found in values.items() if all(value == found[0] for value in found)}
    apart = {method_of(run) for run in runs}
    return same if len({method_of(run, same) for run in runs}) == len(apart) else {}


def _markdown(rows: list[dict[str, Any]], columns: dict[str, str]) -> str:
    if not rows:
        return ""
    lines = [f"| {' | '.join(columns.values())} |", "|---" * len(columns) + "|"]
    lines += [f"| {' | '.join(_shown(name, row[name]) for name in columns)} |" for row in rows]
    return "\n".join(lines)


def _shown(name: str, value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else ""
    if not isinstance(value, float):
        return str(value)
    if np.isnan(value):
        return ""
    if name in SHARES:
        return f"{100.0 * value:.2f}"
    if name == "p_value" and value < 0.001:
        return "<0.001"
    return f"{value:.3f}" if name in ("p_value", "macro_silhouette") else f"{value:.1f}"


def _published(data: list[str]) -> str:
    known = [each for each in data if each in DATA]
    if not known:
        return ""
    lines = [f"| published accuracy | {' | '.join(known)} |", "|---" * (len(known) + 1) + "|"]
    lines += [f"| {name} | {' | '.join(f'{row[each]:.2f}' for each in known)} |" for name, row in PUBLISHED.items()]
    return "\n".join(lines)
