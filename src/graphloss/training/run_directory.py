"""What a run leaves behind, and where: everything else reads only that."""

import json
import os
import platform
import shutil
import subprocess
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import yaml

from graphloss.errors import InputError
from graphloss.training.checkpoints import Checkpoints

PACKAGES = (
    "graphloss",
    "torch",
    "transformers",
    "accelerate",
    "datasets",
    "tokenizers",
    "scikit-learn",
    "numpy",
    "peft",
)
UNCOMMITTED = " and changes that are not committed"


@dataclass(frozen=True)
class RunDirectory:
    """The files of a run. Each appears whole, by a rename.

    Attributes:
        path: of the directory.
    """

    path: Path

    @property
    def config(self) -> Path:
        """The settings, as YAML that `train --config` takes."""
        return self.path / "config.yaml"

    @property
    def environment(self) -> Path:
        """Commit, versions, hardware and seed, as JSON."""
        return self.path / "environment.json"

    @property
    def history(self) -> Path:
        """One JSON object for each logged step and each evaluation."""
        return self.path / "history.jsonl"

    @property
    def metrics(self) -> Path:
        """Scores of the validation and test documents, as JSON. It is written last: where it is, the run is done."""
        return self.path / "metrics.json"

    @property
    def predictions(self) -> Path:
        """The prediction for each validation and test document, as Parquet."""
        return self.path / "predictions.parquet"

    @property
    def tuning(self) -> Path:
        """What the search found that its settings come from, as JSON, where there was one."""
        return self.path / "tuning.json"

    @property
    def model(self) -> Path:
        """The model, as transformers and sentence-transformers load it."""
        return self.path / "model"

    @property
    def index(self) -> Path:
        """The training documents and their graph, for predictions that ask them."""
        return self.path / "index"

    @property
    def record(self) -> Path:
        """What the report draws: embeddings of the same documents at each evaluation, and where all documents lie."""
        return self.path / "record"

    def read_history(self) -> list[dict[str, Any]]:
        """The lines of `history`, in order; none where nothing was trained in steps."""
        return [json.loads(line) for line in self.history.read_text().splitlines()] if self.history.exists() else []

    def saved_config(self) -> dict[str, Any]:
        """The settings that the run was started with; empty where there are none.

        Raises:
            InputError: where they cannot be read.
        """
        try:
            found = yaml.safe_load(self.config.read_text(encoding="utf-8")) if self.config.exists() else {}
        except (OSError, ValueError, yaml.YAMLError) as error:
            raise InputError(f"{self.config} cannot be read ({type(error).__name__}); give --overwrite") from None
        if not isinstance(found, dict):
            raise InputError(f"{self.config} holds no settings; give --overwrite")
        return found

    @property
    def checkpoints(self) -> Checkpoints:
        """Of training, to go on from."""
        return Checkpoints(self.path)

    def holds_run(self) -> bool:
        """Whether a run was started here."""
        return self.config.exists() or self.metrics.exists() or self.model.exists()

    def check(self, *, overwrite: bool, resume: bool) -> None:
        """Refuse a directory that holds a run, unless it may be overwritten or resumed.

        Raises:
            InputError: in that case, and where the path is a file.
        """
        if self.path.exists() and not self.path.is_dir():
            raise InputError(f"{self.path} is a file where a folder is due; name another --output_dir")
        if self.holds_run() and not (overwrite or resume):
            raise InputError(f"{self.path} holds a run; name another --output_dir, or give --resume or --overwrite")

    def clear(self) -> None:
        """Remove what a run wrote here, and nothing else."""
        for path in (self.config, self.environment, self.history, self.metrics, self.predictions):
            path.unlink(missing_ok=True)
        for folder in (self.model, self.index, self.record):
            shutil.rmtree(folder, ignore_errors=True)
        self.checkpoints.remove()


def write_json(path: Path, content: Any) -> None:
    """Write JSON so that the file appears whole."""
    _write_text(path, json.dumps(content, indent=2) + "\n")


def write_yaml(path: Path, content: dict[str, Any]) -> None:
    """Write YAML so that the file appears whole."""
    _write_text(path, yaml.safe_dump(content, sort_keys=False, allow_unicode=True))


def describe_environment(seed: int, device: str) -> dict[str, Any]:
    """What a reader needs to tell whether a figure can be compared: commit, versions, hardware, seed."""
    import torch

    return {
        "commit": source_commit(),
        "versions": {"python": platform.python_version()} | _versions(),
        "platform": platform.platform(),
        "processor": platform.processor() or platform.machine(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "device": torch.cuda.get_device_name() if device.startswith("cuda") else device,
        "seed": seed,
    }


def _versions() -> dict[str, str]:
    found = {}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def source_commit(folder: Path = Path(__file__).parents[1]) -> str | None:
    """The commit that last changed a source checkout, and UNCOMMITTED where it has changed since; None for a wheel.

    Args:
        folder: of the sources.
    """
    try:
        last, changed = (
            subprocess.run(
                ["git", *words, "--", str(folder)], cwd=folder, capture_output=True, text=True, timeout=10
            ).stdout.strip()
            for words in (("log", "-1", "--format=%H"), ("status", "--porcelain"))
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return last + (UNCOMMITTED if changed else "") if last else None


def _write_text(path: Path, content: str) -> None:
    partial = path.with_name(path.name + ".partial")
    partial.write_text(content, encoding="utf-8")
    partial.replace(path)
