"""Which runs a plan asks for."""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import yaml

from graphloss.errors import InputError
from graphloss.run import RunConfig
from graphloss.systems.run_system import ON_EMBEDDINGS, SYSTEMS

NAMED = ("data", "encoder", "system", "loss", "setup", "labels_per_class", "seed")  # what a name is made of, in order
ONLY_TRAINED = ("loss", "setup", "head", "head_start", "graph_weight")  # settings that no system reads


@dataclass(frozen=True)
class Planned:
    """A run.

    Attributes:
        settings: by the names of the flags of `graphloss train`.
        system: "encoder", or a whole system.
    """

    settings: dict[str, Any]
    system: str = "encoder"

    @property
    def name(self) -> str:
        """What it is, for people, and a digest of all its settings."""
        given = self.settings | ({} if self.system == "encoder" else {"system": self.system})
        words = [Path(str(given[key])).name for key in NAMED if key in given]
        digest = hashlib.sha256(json.dumps(given, sort_keys=True).encode()).hexdigest()
        return "-".join([*words, digest[:6]])

    def config(self, output: Path) -> RunConfig:
        """All settings of the run.

        Raises:
            InputError: for settings that are refused.
        """
        return RunConfig.of(self.settings | {"output_dir": str(output)})


def read_plan(path: Path) -> list[Planned]:
    """The runs of a plan, each once.

    A plan is YAML: `grids`, a list; each grid has flags of `graphloss train` by name, and a flag with a list of values
    is a dimension of it.

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
            system = settings.pop("system", "encoder")
            planned = Planned(settings, system)
            runs[planned.name] = planned
            mistakes += [f"{place}: {mistake}" for mistake in _mistakes(planned)]
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


def _mistakes(planned: Planned) -> list[str]:
    """What is wrong with a run."""
    found = []
    if planned.system != "encoder":
        if planned.system not in SYSTEMS:
            found.append(f"system must be one of {', '.join(SYSTEMS)}, got {planned.system!r}")
        unread = [*ONLY_TRAINED, *(() if planned.system in ON_EMBEDDINGS else ("encoder",))]
        found += [f"{planned.system} does not go with {key}" for key in unread if key in planned.settings]
    try:
        planned.config(Path("run"))
    except InputError as error:
        found.append(str(error))
    except (ValueError, TypeError) as error:
        found.append(" ".join(str(error).split()))
    return found
