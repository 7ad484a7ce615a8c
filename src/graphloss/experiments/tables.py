"""What the runs of a bench say together: means, intervals, tests, ranks, and what they cost."""

import csv
from collections import Counter
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import rankdata

from graphloss.evaluation.significance import bootstrap_gain, hierarchical_p_value
from graphloss.experiments.bench import Bench
from graphloss.experiments.cells import Cell, method_of, shared_settings
from graphloss.experiments.published import PUBLISHED

SCORES = {
    "data": "data", "method": "method", "seeds": "seeds", "accuracy": "accuracy", "deviation": "±", "low": "from",
    "high": "to", "macro_f1": "macro-F1", "with_graph": "with the graph", "gain": "gain",
    "gain_low": "from", "gain_high": "to", "p_value": "p", "ece": "calibration error",
    "macro_silhouette": "macro-silhouette", "transductive": "transductive",
}  # fmt: skip
SCORES_NOTE = (
    "Test documents; means over seeds, their standard deviation, and a 95 % interval that resamples seeds and "
    "documents, all in %; gains in accuracy with such an interval, in points, and tests on the seeds that both have. "
    "Transductive systems see the test texts when they are fitted."
)
COSTS = {
    "data": "data", "method": "method", "epochs_to_best": "epochs to the best", "steps_to_best": "steps",
    "seconds_to_best": "seconds", "steps_to_near": "steps to 99 %", "seconds_to_near": "seconds",
    "seconds": "seconds of a run", "seconds_with_search": "with its share of the search",
    "peak_memory": "peak memory, GB",
}  # fmt: skip
COSTS_NOTE = (
    "Until the best validation score, and until 99 % of the best macro-F1 of cross-entropy; blank where a run never "
    "came so far. The settings of a search serve all seeds, which share its cost. Memory is what the process, or on a "
    "GPU the device, held at most."
)
OVER_DATA = {
    "method": "method", "rank": "average rank", "gain": "mean gain", "gain_low": "from", "gain_high": "to",
    "p_value": "p over data sets",
}  # fmt: skip
OF_DOCUMENTS = {
    "data": "data", "runs": "runs", "always": "right in each", "never": "wrong in each",
    "vote_gain": "vote of seeds, gain",
}  # fmt: skip
OF_DOCUMENTS_NOTE = (
    "Test documents that the heads of all runs, and of none, are right about, in %: to choose among them does "
    "not help with the latter. A vote is right where most seeds are, three at least, of cross-entropy or what else "
    "others are tested against; its gain over their mean, in points, is what several encoders have over one."
)
GAINS = ("gain", "gain_low", "gain_high")
VOTERS = 3  # at least, so that there is a majority
POINTS = (*GAINS, "vote_gain")
SHARES = ("accuracy", "deviation", "low", "high", "macro_f1", "with_graph", "ece", "always", "never")
THREE_DIGITS = ("p_value", "macro_silhouette")


@dataclass(frozen=True)
class Table:
    """The methods of one table, on its data sets.

    Attributes:
        name: as the plan has it; None for the only one.
        cells: by data set and method.
        against: the method that others are tested against; None for cross-entropy on the same encoder.
    """

    name: str | None
    cells: dict[tuple[str, str], Cell]
    against: str | None = None

    @cached_property
    def data(self) -> list[str]:
        """The data sets."""
        return list(dict.fromkeys(data for data, _ in self.cells))

    @cached_property
    def methods(self) -> list[str]:
        """The methods."""
        return list(dict.fromkeys(method for _, method in self.cells))

    def base(self, cell: Cell) -> Cell | None:
        """What a cell is tested against: itself, or None, where there is nothing."""
        if self.against is not None:
            found = [self.cells.get((cell.data, self.against))]
        else:
            plain = [each for each in self.cells.values() if each.data == cell.data and each.is_cross_entropy]
            alike = [each for each in plain if each.run.settings.get("encoder") == cell.run.settings.get("encoder")]
            found = [*alike, *plain, None]
        return found[0] if found[0] is not None and found[0].outcomes else None

    @cached_property
    def rows(self) -> list[dict[str, Any]]:
        """A row for each data set and method."""
        return [cell.row(self.base(cell)) for cell in self.cells.values()]

    def over_data(self) -> list[dict[str, Any]]:
        """For each method that was run on all data sets: its average rank, its gain, and the test over data sets."""
        finished = {key: cell for key, cell in self.cells.items() if cell.outcomes}
        whole = [method for method in self.methods if all((data, method) in finished for data in self.data)]
        if not whole:
            return []
        means = np.array([[finished[data, method].scores("accuracy").mean() for method in whole] for data in self.data])
        ranks = rankdata(-means, axis=1).mean(axis=0)
        return [
            {"method": method, "rank": float(rank)} | self._gain_over_data(method)
            for method, rank in zip(whole, ranks, strict=True)
        ]

    def _gain_over_data(self, method: str) -> dict[str, float]:
        cells = [self.cells[data, method] for data in self.data]
        found = {cell.data: cell.differences(self.base(cell)) for cell in cells}
        differences = {data: values for data, values in found.items() if values is not None}
        if len(differences) < len(found):
            return dict.fromkeys((*GAINS, "p_value"), float("nan"))
        p_value = hierarchical_p_value({data: values.mean(axis=1) for data, values in differences.items()})
        return dict(zip(GAINS, bootstrap_gain(differences), strict=True)) | {"p_value": p_value}

    def of_documents(self) -> list[dict[str, Any]]:
        """For each data set the shares of documents that all heads, and none, are right about, and how
        much the base of the first method gains by a vote of its seeds."""
        by_data = [[cell for cell in self.cells.values() if cell.data == data and cell.outcomes] for data in self.data]
        return [_of_documents(cells, self.base(cells[0])) for cells in by_data if cells]

    def markdown(self) -> str:
        """The table, what it cost, ranks, what is left to gain, published figures; empty where no run is finished."""
        if not self.cells:
            return ""
        tested = "cross-entropy on the same encoder, else on another" if self.against is None else f"*{self.against}*"
        note = f"{SCORES_NOTE} Gain over, and p by paired permutation tests, over documents, against {tested}."
        parts = [f"## {self.name}" if self.name else "", _markdown(self.rows, SCORES), note, *self._fewer()]
        parts += [_markdown([row for row in self.rows if row["seeds"]], COSTS), COSTS_NOTE]
        parts += [_markdown(self.over_data(), OVER_DATA)]
        documents = self.of_documents()
        parts += [_markdown(documents, OF_DOCUMENTS), OF_DOCUMENTS_NOTE if documents else "", *self._published()]
        return "\n\n".join(part for part in parts if part)

    def _fewer(self) -> list[str]:
        """Where a class has fewer documents than were asked for."""
        found = {}
        for (data, _), cell in self.cells.items():
            asked = cell.run.settings.get("labels_per_class", 0)
            smallest = min((each.get("smallest_class", asked) for each in cell.metrics), default=asked)
            if smallest < asked:
                found[data, asked] = f"{data}, of whose classes one has {smallest} where {asked} were asked for"
        told = "; ".join(found.values())
        return [f"All training documents were taken of classes that have too few: {told}."] if found else []

    def _published(self) -> list[str]:
        return [_published(name, self.data) for name in PUBLISHED if self.name in (None, name)]


class Tables:
    """The finished runs of a bench with test documents, by the tables of its plan.

    Args:
        bench: the bench.
        against: the method that others are tested against; None for cross-entropy on the same encoder.
    """

    def __init__(self, bench: Bench, against: str | None = None) -> None:
        self.shared = shared_settings(bench.runs)
        grouped: dict[str | None, dict[tuple[str, str], list[Any]]] = {}
        for run in bench.runs:
            key = (Path(str(run.settings["data"])).name, method_of(run, self.shared))
            grouped.setdefault(run.table, {}).setdefault(key, []).append(run)
        self.tables = []
        for name, methods in grouped.items():
            found = (_cell(bench, *key, runs) for key, runs in methods.items())
            cells = {(cell.data, cell.method): cell for cell in found if cell.outcomes or cell.missing}
            self.tables.append(Table(name, cells, against))

    def markdown(self) -> str:
        """Everything as Markdown."""
        same = ", ".join(f"{name} {value}" for name, value in self.shared.items())
        parts = [f"Alike in all runs that read it: {same}." if same else ""]
        parts += [*(table.markdown() for table in self.tables), self._provenance()]
        return "\n\n".join(part for part in parts if part) + "\n"

    def _provenance(self) -> str:
        """Where the figures come from."""
        cells = [cell for table in self.tables for cell in table.cells.values()]
        found = Counter(outcome.source for cell in cells for outcome in cell.outcomes)
        return "\n".join(f"{count} {'run' if count == 1 else 'runs'}: {source}." for source, count in found.items())

    def write(self, folder: Path) -> None:
        """Write tables.md and tables.csv, where "all" is the data of a row over data sets."""
        (folder / "tables.md").write_text(self.markdown())
        columns = ["table", *dict.fromkeys([*SCORES, *COSTS, *OVER_DATA])]
        with (folder / "tables.csv").open("w", newline="") as file:
            writer = csv.DictWriter(file, columns, extrasaction="ignore")
            writer.writeheader()
            for table in self.tables:
                rows = [*table.rows, *({"data": "all"} | row for row in table.over_data())]
                writer.writerows({"table": table.name or ""} | row for row in rows)


def _cell(bench: Bench, data: str, method: str, runs: list[Any]) -> Cell:
    outcomes = {run.settings.get("seed"): bench.outcome(run) for run in runs}
    tested = {seed: found for seed, found in outcomes.items() if found is not None and "test" in found.metrics}
    missing = [state.partition(": ")[2] for state in map(bench.state, runs) if state.startswith("not run")]
    return Cell(data, method, runs[0], list(tested.values()), list(tested), missing[0] if missing else None)


def _of_documents(cells: list[Cell], base: Cell | None) -> dict[str, Any]:
    right = np.concatenate([cell.right for cell in cells])
    found = {"data": cells[0].data, "runs": len(right)}
    found |= {"always": float(right.all(axis=0).mean()), "never": float((~right).all(axis=0).mean())}
    if base is not None and len(base.seeds) >= VOTERS:
        found["vote_gain"] = float((base.right.mean(axis=0) > 0.5).mean() - base.right.mean())
    return found


def _markdown(rows: list[dict[str, Any]], columns: dict[str, str]) -> str:
    if not rows:
        return ""
    lines = [f"| {' | '.join(columns.values())} |", "|---" * len(columns) + "|"]
    lines += [f"| {' | '.join(_shown(name, row.get(name, float('nan'))) for name in columns)} |" for row in rows]
    return "\n".join(lines)


def _shown(name: str, value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else ""
    if not isinstance(value, float):
        return str(value)
    if np.isnan(value):
        return ""
    if name in POINTS:
        return f"{100.0 * value:+.2f}"
    if name in SHARES:
        return f"{100.0 * value:.2f}"
    if name == "p_value" and value < 0.001:
        return "<0.001"
    if name == "peak_memory":
        return f"{value / 1e9:.2f}"
    return f"{value:.3f}" if name in THREE_DIGITS else f"{value:.1f}"


def _published(name: str, data: list[str]) -> str:
    table = PUBLISHED[name]
    columns = [table.data.index(each) for each in data if each in table.data]
    if not columns:
        return ""
    lines = [
        f"| published: {table.figures} | {' | '.join(table.data[column] for column in columns)} |",
        "|---" * (len(columns) + 1) + "|",
    ]
    lines += [f"| {method} | {' | '.join(row[column] for column in columns)} |" for method, row in table.rows.items()]
    return "\n".join(lines)
