"""What the runs of one method on one data set say together."""

from collections.abc import Collection
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from jaxtyping import Bool, Float

from graphloss.evaluation.significance import Gain, bootstrap_gain, bootstrap_interval, paired_p_value
from graphloss.experiments.outcome import Outcome
from graphloss.experiments.plan import Planned

NOT_A_METHOD = ("data", "seed", "output_dir")
CONVERGED = 0.99  # of the best validation score of cross-entropy
NEVER = float("nan")


@dataclass(frozen=True)
class Cell:
    """The runs of one method on one data set, over seeds.

    Attributes:
        data: the data set.
        method: what tables call the method.
        run: one of the runs.
        outcomes: of those that are finished and have scores of test documents.
        seeds: of these.
        missing: "weights" or "data", where it was not run because these could not be had.
    """

    data: str
    method: str
    run: Planned
    outcomes: list[Outcome] = field(default_factory=list)
    seeds: list[int] = field(default_factory=list)
    missing: str | None = None

    @property
    def is_cross_entropy(self) -> bool:
        """Whether it trains an encoder by cross-entropy alone."""
        return self.run.system == "encoder" and self.run.settings.get("loss") == "ce"

    @cached_property
    def metrics(self) -> list[dict[str, Any]]:
        """Those of each run."""
        return [outcome.metrics for outcome in self.outcomes]

    @cached_property
    def right(self) -> Bool[np.ndarray, "S n"]:
        """Whether the head of each run was right about each test document that has a label."""
        return np.stack([outcome.right for outcome in self.outcomes])

    def scores(self, name: str, part: str | None = None) -> Float[np.ndarray, " S"]:
        """A score on the test documents by seed; NaN where a run has none. Under "graph" or "floor" with `part`."""
        found = [each if part is None else each.get(part, {}) for each in self.metrics]
        return np.array([each.get("test", {}).get(name, np.nan) for each in found], dtype=float)

    @cached_property
    def evaluations(self) -> list[list[dict[str, float]]]:
        """Of each run those with its score on validation documents; runs that did not train in epochs have none."""
        return [[line for line in outcome.evaluations if self._score in line] for outcome in self.outcomes]

    @property
    def _score(self) -> str:
        return "eval_macro_silhouette" if self.run.settings.get("setup") == "standalone" else "eval_macro_f1"

    @cached_property
    def best_validation(self) -> float:
        """The best macro-F1 on validation documents while it trained, a mean over seeds; NaN where there is none."""
        found = [[line.get("eval_macro_f1", NEVER) for line in lines] for lines in self.evaluations]
        return float(np.mean([max(scores, default=NEVER) for scores in found])) if found else NEVER

    def cost(self, base: "Cell | None") -> dict[str, float]:
        """What it took: means over seeds; NaN where it is not known, and where a run never came so far.

        Args:
            base: cross-entropy on the same data.
        """
        best = [max(lines, key=lambda line: line[self._score], default={}) for lines in self.evaluations]
        goal = NEVER if base is None else CONVERGED * base.best_validation
        near = [
            next((line for line in lines if line.get("eval_macro_f1", NEVER) >= goal), {}) for lines in self.evaluations
        ]
        own = [each.get("seconds", NEVER) for each in self.metrics]
        return {
            "epochs_to_best": _mean(line.get("epoch", NEVER) for line in best),
            "steps_to_best": _mean(line.get("step", NEVER) for line in best),
            "seconds_to_best": _mean(line.get("seconds", NEVER) for line in best),
            "steps_to_near": _mean(line.get("step", NEVER) for line in near),
            "seconds_to_near": _mean(line.get("seconds", NEVER) for line in near),
            "seconds": _mean(own),
            "seconds_with_search": _mean(own) + self.seconds_of_search / max(len(self.outcomes), 1),
            "peak_memory": _mean(each.get("peak_memory") or NEVER for each in self.metrics),
        }

    @cached_property
    def seconds_of_search(self) -> float:
        """Of all trials of the one search that the runs have in common."""
        return float(max((each.search["seconds"] for each in self.outcomes if each.search), default=0.0))

    def differences(self, base: "Cell | None") -> Float[np.ndarray, "S n"] | None:
        """By seed that both have and document 1 where only these runs were right, -1 where only those of the base were,
        else 0; None where there is nothing to compare with, or no such seed."""
        pair = self._on_same_seeds(base)
        return None if pair is None else pair[0].astype(float) - pair[1].astype(float)

    def _on_same_seeds(self, base: "Cell | None") -> list[Bool[np.ndarray, "S n"]] | None:
        """What these runs and those of the base were right about, on the seeds that both have."""
        if base is None or base is self or not set(self.seeds) & set(base.seeds):
            return None
        both = [seed for seed in self.seeds if seed in base.seeds]
        return [cell.right[[cell.seeds.index(seed) for seed in both]] for cell in (self, base)]

    def row(self, base: "Cell | None") -> dict[str, Any]:
        """All of it, for a line of a table.

        Args:
            base: that it is tested against, on the same data.
        """
        if not self.outcomes:
            return {"data": self.data, "method": self.method, "seeds": 0, "accuracy": f"not run: {self.missing}"}
        accuracy = self.scores("accuracy")
        low, high = bootstrap_interval(self.right)
        pair, differences = self._on_same_seeds(base), self.differences(base)
        gain = Gain(NEVER, NEVER, NEVER) if differences is None else bootstrap_gain({self.data: differences})
        return {
            "data": self.data,
            "method": self.method,
            "seeds": len(self.outcomes),
            "accuracy": float(accuracy.mean()),
            "deviation": float(accuracy.std(ddof=1)) if len(accuracy) > 1 else NEVER,
            "low": low,
            "high": high,
            "macro_f1": float(self.scores("macro_f1").mean()),
            "ece": float(self.scores("ece").mean()),
            "macro_silhouette": float(self.scores("macro_silhouette").mean()),
            "with_graph": float(self.scores("accuracy", "graph").mean()),
            "gain": gain.mean,
            "gain_low": gain.low,
            "gain_high": gain.high,
            "p_value": NEVER if pair is None else paired_p_value(*pair),
            "transductive": any(each.get("transductive", False) for each in self.metrics),
            "smallest_class": min(each.get("smallest_class", np.inf) for each in self.metrics),
        } | self.cost(base if base is not None and base.is_cross_entropy else None)


def method_of(run: Planned, shared: Collection[str] = ()) -> str:
    """What a run is but for its data and seed: encoder, loss and set-up first, or what the plan calls it; settings in
    `shared` are not named."""
    given = {name: value for name, value in run.settings.items() if name not in (*NOT_A_METHOD, *shared)}
    if run.method is not None:
        return " ".join([*([str(given["encoder"])] if "encoder" in given else []), run.method])
    first = [str(given.pop(name)) for name in ("encoder", "loss", "setup") if name in given]
    if run.system != "encoder":
        first.insert(0, run.system)
    more = [f"{name}={value}" for name, value in sorted(given.items())]
    return " ".join([*first, *more, *([f"trials={run.trials}"] if run.trials else [])])


def shared_settings(runs: list[Planned]) -> dict[str, Any]:
    """Settings that do not tell methods apart, with their one value: all runs that train an encoder have it."""
    trained = [run for run in runs if run.system == "encoder"]
    values: dict[str, list[Any]] = {}
    for run in runs:
        for name, value in run.settings.items():
            if name not in (*NOT_A_METHOD, "encoder", "loss", "setup") and all(
                name in each.settings for each in trained
            ):
                values.setdefault(name, []).append(value)
    same = {name: found[0] for name, found in values.items() if all(value == found[0] for value in found)}
    apart = {method_of(run) for run in runs}
    return same if len({method_of(run, same) for run in runs}) == len(apart) else {}


def _mean(values: Any) -> float:
    found = list(values)
    return float(np.mean(found)) if found else NEVER
