"""Which runs a plan asks for."""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass, fields
from itertools import product
from pathlib import Path
from typing import Any

import yaml

from graphloss.errors import InputError
from graphloss.experiments.space import Space, check_space, paper_space, read_space
from graphloss.run import RunConfig
from graphloss.systems.run_system import ON_EMBEDDINGS, SYSTEMS

NAMED = ("data", "encoder", "system", "loss", "setup", "labels_per_class", "seed")  # what a name is made of, in order
ONLY_TRAINED = ("loss", "setup", "head", "head_start", "head_end", "graph_weight")  # settings that no system reads


@dataclass(frozen=True)
class Planned:
    """A run.

    Attributes:
        settings: by the names of the flags of `graphloss train`.
        system: "encoder", or a whole system.
        trials: of a search for further settings, which runs that differ by their seed alone have in common; 0 for none.
        search: what is searched, each as --search of `graphloss tune` has it; None for what the paper searches, less
            what `settings` hold.
        search_with: settings in which the search differs from the runs that take what it finds; None leaves one out.
        method: what tables call it; None for its settings.
        table: of which it is a row; None for the only one.
    """

    settings: dict[str, Any]
    system: str = "encoder"
    trials: int = 0
    search: tuple[str, ...] | None = None
    search_with: dict[str, Any] | None = None
    method: str | None = None
    table: str | None = None

    @property
    def name(self) -> str:
        """What it is, for people, and a digest of all that makes it."""
        return self._name(self.settings, search_with=self.search_with)

    @property
    def study(self) -> str:
        """The name of the search whose settings it takes."""
        return self._name({name: value for name, value in self.searched.items() if name != "seed"})

    @property
    def searched(self) -> dict[str, Any]:
        """The settings that a search holds fixed. Its trials keep nothing but scores: no one looks at them again."""
        held = self.settings | (self.search_with or {}) | {"index": False, "record": False}
        return {name: value for name, value in held.items() if value is not None}

    def _name(self, settings: dict[str, Any], **others: Any) -> str:
        system = None if self.system == "encoder" else self.system
        more = {"system": system, "trials": self.trials or None, "search": self.search} | others
        given = settings | {name: value for name, value in more.items() if value is not None}
        words = [Path(str(given[key])).name for key in NAMED if key in given]
        digest = hashlib.sha256(json.dumps(given, sort_keys=True).encode()).hexdigest()
        return "-".join([*words, digest[:6]])

    def space(self) -> Space:
        """What is searched.

        Raises:
            InputError: where it cannot be read.
        """
        if self.search is not None:
            return read_space(list(self.search))
        training = self.config(Path("run")).training
        space = paper_space(training.loss, training.setup)
        return {name: values for name, values in space.items() if name not in self.searched}

    def config(self, output: Path) -> RunConfig:
        """All settings of the run.

        Raises:
            InputError: for settings that are refused.
        """
        return RunConfig.of(self.settings | {"output_dir": str(output)})


def read_plan(path: Path) -> list[Planned]:
    """The runs of a plan, each once.

    A plan is YAML: `grids`, a list; each grid has flags of `graphloss train` by name, and a flag with a list of values
    is a dimension of it. Beside flags there are the fields of `Planned`; `search` is written `name: values`. What else
    the file holds, such as settings that several grids merge, is not read. A run that stands in two grids belongs to
    the first.

    Raises:
        InputError: with every mistake in the plan.
    """
    grids = _read(path)
    runs: dict[str, Planned] = {}
    mistakes = []
    for number, grid in enumerate(grids, start=1):
        place = f"grid {number}"
        mistakes += [f"{place}: no {key}" for key in ("data", "seed") if key not in grid]
        for settings in _corners(grid):
            own = {each.name: settings.pop(each.name) for each in fields(Planned) if each.name in settings}
            planned = Planned(settings, **(own | {"search": _search(own.get("search"))}))
            runs.setdefault(planned.name, planned)
            mistakes += [f"{place}: {mistake}" for mistake in _mistakes(planned)]
    mistakes += _namesakes(list(runs.values()))
    if mistakes:
        raise InputError("\n  ".join([f"{path}:", *dict.fromkeys(mistakes)]))
    return list(runs.values())


def _read(path: Path) -> list[dict[str, Any]]:
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError, UnicodeDecodeError) as error:
        raise InputError(f"{path} cannot be read as YAML: {' '.join(str(error).split())}") from None
    grids = content.get("grids") if isinstance(content, dict) else None
    if not isinstance(grids, list) or not grids or not all(isinstance(grid, dict) for grid in grids):
        raise InputError(f"{path} must hold `grids:`, a list of grids, each with `name: value or list of values`")
    return grids


def _corners(grid: dict[str, Any]) -> Iterator[dict[str, Any]]:
    dimensions = [value if isinstance(value, list) else [value] for value in grid.values()]
    return (dict(zip(grid, corner, strict=True)) for corner in product(*dimensions))


def _search(given: Any) -> tuple[str, ...] | None:
    if given is None:
        return None
    if not isinstance(given, dict):
        return (str(given),)  # which nothing can be read from
    return tuple(f"{name}={values}" for name, values in given.items())


def _namesakes(runs: list[Planned]) -> list[str]:
    """Data sets that a table could not tell apart."""
    called: dict[tuple[str, str], set[str]] = {}
    for run in runs:
        data = str(run.settings.get("data"))
        called.setdefault((str(run.table), Path(data).name), set()).add(data)
    return [
        f"{' and '.join(sorted(each))} have one name, {name}, by which a table would take them for one; rename a folder"
        for (_, name), each in called.items()
        if len(each) > 1
    ]


def _mistakes(planned: Planned) -> list[str]:
    """What is wrong with a run."""
    found = []
    if planned.trials:
        found += _mistakes_of_search(planned)
    for name in ("search", "search_with"):
        if getattr(planned, name) and not planned.trials:
            found.append(f"{name} needs trials, the number of them")
    if planned.system != "encoder":
        if planned.system not in list(SYSTEMS):  # it may be anything
            found.append(f"system must be one of {', '.join(SYSTEMS)}, got {planned.system!r}")
        unread = [*ONLY_TRAINED, *(() if planned.system in list(ON_EMBEDDINGS) else ("encoder",))]
        found += [f"{planned.system} does not go with {key}" for key in unread if key in planned.settings]
    try:
        planned.config(Path("run"))
    except InputError as error:
        found.append(str(error))
    return found


def _mistakes_of_search(planned: Planned) -> list[str]:
    if not isinstance(planned.trials, int) or planned.trials < 0:
        return [f"trials must be a number of them, got {planned.trials!r}"]
    if planned.system != "encoder" or planned.settings.get("setup") == "frozen":
        return [f"{planned.system if planned.system != 'encoder' else 'frozen'} has nothing to search"]
    if not isinstance(planned.search_with, dict | None):
        return [f"search_with must name settings with their values, got {planned.search_with!r}"]
    left_out = [name for name, value in (planned.search_with or {}).items() if value is None]
    unset = [name for name in left_out if name not in planned.settings]
    if unset:
        return [f"search_with leaves out {', '.join(unset)}, which the run does not set"]
    try:
        check_space(planned.space(), planned.searched | {"output_dir": "run"})
    except InputError as error:
        return [str(error)]
    return []
