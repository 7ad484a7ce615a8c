"""Carrying out a plan: runs that are done are not done again, failures do not stop the others."""

import json
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from graphloss.errors import InputError
from graphloss.experiments.lease import is_held, lease
from graphloss.experiments.plan import Planned
from graphloss.run import run_training
from graphloss.systems.run_system import run_system
from graphloss.training.run_directory import RunDirectory, write_json

FAILED = "failed.json"
WAIT = 2.0  # seconds between two looks at what other processes are at


@dataclass(frozen=True)
class Bench:
    """The runs of a plan in a folder.

    Attributes:
        folder: of the runs, and of what the plan was.
        runs: of the plan.
    """

    folder: Path
    runs: list[Planned]

    def open(self) -> None:
        """Write down what is planned.

        Raises:
            InputError: where the folder holds the runs of another plan or version.
        """
        planned = {"version": version("graphloss"), "runs": sorted(run.name for run in self.runs)}
        file = self.folder / "plan.json"
        if file.exists():
            _check_same(json.loads(file.read_text()), planned, self.folder)
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        write_json(file, planned)

    def path(self, run: Planned) -> Path:
        """The directory of a run."""
        return self.folder / "runs" / run.name

    def state(self, run: Planned) -> str:
        """ "done", "running", "failed: why" or "to do"."""
        path = self.path(run)
        if RunDirectory(path).metrics.exists():
            return "done"
        if is_held(self._lease(run)):
            return "running"
        if (path / FAILED).exists():
            return f"failed: {json.loads((path / FAILED).read_text())['error']}"
        return "to do"

    def carry_out(self, say: Callable[[str], None]) -> int:
        """Do what is not done; those that failed before are tried again. Gives the number of failures.

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
                    if RunDirectory(self.path(run)).metrics.exists():
                        continue
                    if self._failed_since(run, started):  # in another process
                        failures += 1
                        continue
                    error = self._do(run)
                failures += error is not None
                say(f"{self.runs.index(run) + 1}/{len(self.runs)}  {run.name}  {error or self._scores(run)}")
            time.sleep(WAIT if left else 0.0)
        return failures

    def _failed_since(self, run: Planned, started: float) -> bool:
        file = self.path(run) / FAILED
        return file.exists() and file.stat().st_mtime > started

    def _do(self, run: Planned) -> str | None:
        """Do a run; gives why it failed, if it did."""
        path = self.path(run)
        (path / FAILED).unlink(missing_ok=True)
        try:
            if run.system == "encoder":
                run_training(run.config(path), resume=RunDirectory(path).config.exists())
            else:
                run_system(run.config(path), run.system, overwrite=path.exists())
        except Exception as error:  # whatever it is, the other runs are to go on
            path.mkdir(parents=True, exist_ok=True)
            reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
            write_json(path / FAILED, {"error": reason, "traceback": traceback.format_exc()})
            return f"failed: {reason}"
        return None

    def _scores(self, run: Planned) -> str:
        metrics: dict[str, Any] = json.loads(RunDirectory(self.path(run)).metrics.read_text())
        split = "test" if "test" in metrics else "validation"
        return f"{split} accuracy {metrics[split]['accuracy']:.4f}"

    def _lease(self, run: Planned) -> Path:
        return self.folder / "leases" / run.name


def _check_same(found: dict[str, Any], planned: dict[str, Any], folder: Path) -> None:
    differences = []
    if found["version"] != planned["version"]:
        differences.append(f"version {found['version']} there, {planned['version']} here")
    there, here = set(found["runs"]), set(planned["runs"])
    for text, names in (("only there", there - here), ("only in the plan", here - there)):
        if names:
            more = f" and {len(names) - 3} more" if len(names) > 3 else ""
            differences.append(f"{text}: {', '.join(sorted(names)[:3])}{more}")
    if differences:
        raise InputError(f"{folder} holds another bench ({'; '.join(differences)}); name another --output_dir")
