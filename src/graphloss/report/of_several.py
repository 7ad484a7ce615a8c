"""What a page of several runs shows, as plain data."""

from typing import Any

import numpy as np

from graphloss.evaluation.significance import paired_p_value
from graphloss.report.of_run import FinishedRun

NEAR = 0.99  # of the best validation score of the first run
NOT_COMPARED = ("output_dir",)


def view_of_several(runs: list[FinishedRun]) -> dict[str, Any]:
    """Scores side by side, tests against the first run, curves, convergence, and the settings that differ."""
    first = runs[0]
    best = max((value for _, value in first.curves().get("eval_macro_f1", [])), default=None)
    return {
        "names": [run.name for run in runs],
        "split": first.split,
        "rows": [
            {
                "name": run.name,
                "scores": [row for row in run.scores() if row["split"] == first.split],
                "p_value": None if run is first else _p_value(run, first),
                "convergence": _convergence(run, best),
                "seconds": run.metrics.get("seconds"),
            }
            for run in runs
        ],
        "curves": [run.curves() for run in runs],
        "settings": _differing(runs),
    }


def _p_value(run: FinishedRun, first: FinishedRun) -> float | None:
    """Of a paired test against the first run; None where they were not asked about the same documents."""
    rows = [[each.predictions["text"][row] for row in each.rows(first.split)] for each in (run, first)]
    if run.split != first.split or rows[0] != rows[1]:
        return None
    return paired_p_value(np.array([run.right(first.split)]), np.array([first.right(first.split)]))


def _convergence(run: FinishedRun, best: float | None) -> dict[str, Any]:
    scored = [entry for entry in run.history if "eval_macro_f1" in entry]
    if not scored:
        return {}
    top = max(scored, key=lambda entry: entry["eval_macro_f1"])
    near = next((entry for entry in scored if best is not None and entry["eval_macro_f1"] >= NEAR * best), None)
    found = {"best": top["eval_macro_f1"], "steps_to_best": top["step"], "seconds_to_best": top.get("seconds")}
    return found | ({} if near is None else {"steps_to_near": near["step"], "seconds_to_near": near.get("seconds")})


def _differing(runs: list[FinishedRun]) -> list[list[str]]:
    names = sorted({name for run in runs for name in run.config} - set(NOT_COMPARED))
    rows = [[name, *(str(run.config.get(name, "")) for run in runs)] for name in names]
    return [row for row in rows if len(set(row[1:])) > 1]
