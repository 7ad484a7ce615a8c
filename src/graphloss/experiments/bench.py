"""Carrying out a plan: runs that are done are not done again, failures do not stop the others."""

import json
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

from graphloss.errors import InputError, Unavailable
from graphloss.experiments.lease import is_held, lease
from graphloss.experiments.outcome import Outcome
from graphloss.experiments.plan import Planned
from graphloss.experiments.tune import Tuning
from graphloss.run import RunConfig, run_training
from graphloss.systems.run_system import run_system
from graphloss.training.run_directory import RunDirectory, write_json

FAILED = "failed.json"
WAIT = 2.0  # seconds between two looks at what other processes are at


@dataclass(frozen=True)
class Bench:
    """The runs of a plan in a folder.

    A run is done where its outcome is kept: outcomes/, with plan.json, is all that is needed to go on elsewhere, or to
    make the tables, and of a search that no run of it has ended yet, studies/*/study.log; all else may be thrown away.

    Attributes:
        folder: of the runs, and of what the plan was.
        runs: of the plan.
    """

    folder: Path
    runs: list[Planned]
    _missing: dict[Any, Unavailable] = field(default_factory=dict)  # by encoder or data, lest each run asks the hub

    def open(self) -> None:
        """Write down what is planned; a plan may have grown since.

        Raises:
            InputError: where the folder holds runs that are not in the plan, or those of another version.
        """
        planned = {"version": version("graphloss"), "runs": sorted(run.name for run in self.runs)}
        file = self.folder / "plan.json"
        if file.exists():
            _check_holds(planned, json.loads(file.read_text()), file)
        self.folder.mkdir(parents=True, exist_ok=True)
        write_json(file, planned)

    def path(self, run: Planned) -> Path:
        """The directory of a run."""
        return self.folder / "runs" / run.name

    def outcome(self, run: Planned) -> Outcome | None:
        """What a run came to; None while it is not done."""
        file, path = self._kept(run), self.path(run)
        if file.exists():
            return Outcome.read(file)
        return Outcome.of(path) if RunDirectory(path).metrics.exists() else None

    def state(self, run: Planned) -> str:
        """ "running", or how it ended: "done", "failed: why", "not run: weights" or "not run: data" where these cannot
        be had; "to do" where nobody has begun it."""
        ended = self._ended(run)
        return "running" if ended != "done" and is_held(self._lease(run)) else ended

    def _ended(self, run: Planned) -> str:
        if self.outcome(run) is not None:
            return "done"
        failed = self.path(run) / FAILED
        if failed.exists():
            found = json.loads(failed.read_text())
            return f"not run: {found['missing']}" if "missing" in found else f"failed: {found['error']}"
        return "to do"

    def trials(self, run: Planned) -> int:
        """The trials of the search that begins with a run; 0 for the runs that only take its settings."""
        return run.trials if self._first(run) is run else 0

    def carry_out(self, say: Callable[[str], None]) -> int:
        """Do what is not done; those that failed before are tried again. Gives the number of failures; runs whose
        weights or data cannot be had are none.

        What another process is at is waited for, and done here should that process die.

        Args:
            say: told of each run how it ended.
        """
        self.open()
        (self.folder / "runs").mkdir(exist_ok=True)
        started, failures, left = time.time(), 0, list(self.runs)
        while left:
            for run in list(left):
                with lease(self._lease(run)) as held:
                    if not held:
                        continue
                    left.remove(run)
                    if self._kept(run).exists():
                        continue
                    if self.outcome(run) is None and not self._failed_since(run, started):  # in another process
                        self._do(run, say)
                    outcome = self.outcome(run)
                    if outcome is not None:
                        outcome.write(self._kept(run))
                ended = self._ended(run)
                failures += ended.startswith("failed")
                told = ended if outcome is None else _scores(outcome)
                say(f"{self.runs.index(run) + 1}/{len(self.runs)}  {run.name}  {told}")
            time.sleep(WAIT if left else 0.0)
        return failures

    def _failed_since(self, run: Planned, started: float) -> bool:
        file = self.path(run) / FAILED
        return file.exists() and file.stat().st_mtime > started

    def _do(self, run: Planned, say: Callable[[str], None]) -> None:
        """Do a run, or write down why it failed."""
        path = self.path(run)
        path.mkdir(parents=True, exist_ok=True)
        (path / FAILED).unlink(missing_ok=True)
        try:
            self._check_available(run)
            if run.trials:
                run = self._tuned(run, path, say)
            if run.system == "encoder":
                run_training(run.config(path), resume=RunDirectory(path).config.exists())
            else:
                run_system(run.config(path), run.system, overwrite=True)
        except Unavailable as error:
            self._missing[run.settings.get("encoder") if error.what == "weights" else run.settings["data"]] = error
            write_json(path / FAILED, {"error": str(error), "missing": error.what})
        except Exception as error:  # whatever it is, the other runs are to go on
            reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
            write_json(path / FAILED, {"error": reason, "traceback": traceback.format_exc()})

    def _check_available(self, run: Planned) -> None:
        for name in (run.settings.get("encoder"), run.settings["data"]):
            if name in self._missing:
                raise self._missing[name]

    def _tuned(self, run: Planned, path: Path, say: Callable[[str], None]) -> Planned:
        """The run with the settings that its search found, or finds now, together with whoever is at it."""
        done = (self.outcome(each) for each in self.runs if each.study == run.study)
        found = next((each.search for each in done if each and each.search), None) or self._search(run, path, say)
        write_json(RunDirectory(path).tuning, found)
        return replace(run, settings=run.settings | found["settings"])

    def _search(self, run: Planned, path: Path, say: Callable[[str], None]) -> dict[str, Any]:
        settings = self._first(run).searched
        seed = RunConfig.of(settings | {"output_dir": str(path)}).training.seed
        folder = self.folder / "studies" / run.study
        tuning = Tuning(folder, settings, run.space(), run.trials, None, seed, lambda line: say(f"{run.study}: {line}"))
        return tuning.search()

    def _first(self, run: Planned) -> Planned:
        """The run that its search begins with."""
        return next(each for each in self.runs if each.study == run.study)

    def _lease(self, run: Planned) -> Path:
        return self.folder / "leases" / run.name

    def _kept(self, run: Planned) -> Path:
        return self.folder / "outcomes" / f"{run.name}.json"


def _scores(outcome: Outcome) -> str:
    split = "test" if "test" in outcome.metrics else "validation"
    return f"{split} accuracy {outcome.metrics[split]['accuracy']:.4f}"


def _check_holds(planned: dict[str, Any], found: dict[str, Any], file: Path) -> None:
    differences = []
    if found["version"] != planned["version"]:
        differences.append(f"of version {found['version']}, this is {planned['version']}")
    lacking = sorted(set(found["runs"]) - set(planned["runs"]))
    if lacking:
        more = f" and {len(lacking) - 3} more" if len(lacking) > 3 else ""
        differences.append(f"the plan lacks {', '.join(lacking[:3])}{more}")
    if differences:
        raise InputError(
            f"{file.parent} holds another bench ({'; '.join(differences)}); name another --output_dir, or remove "
            f"{file} to go on without what is there"
        )
