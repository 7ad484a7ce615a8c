"""What is kept of a finished run: all that tables need of it, in a file small enough to go wherever results go."""

import base64
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet
from jaxtyping import Bool

from graphloss.errors import InputError
from graphloss.training.run_directory import RunDirectory, write_json

OF_EVALUATION = ("step", "epoch", "seconds", "eval_macro_f1", "eval_macro_silhouette")
LONG = "by_class"  # scores that no table of several runs has


@dataclass(frozen=True)
class Outcome:
    """What is kept of a run.

    Attributes:
        metrics: its metrics.json, without the scores of each class.
        evaluations: when each evaluation while it trained was, and its scores.
        documents: test documents that have a label.
        bits: whether the head was right about each of these: a bit for each, the highest of a byte first, in base64.
        search: what its tuning.json holds; None where nothing was searched.
        source: commit, hardware, precision and versions.
    """

    metrics: dict[str, Any]
    evaluations: list[dict[str, float]]
    documents: int
    bits: str
    search: dict[str, Any] | None
    source: str

    @classmethod
    def of(cls, path: Path) -> "Outcome":
        """That of the finished run in a directory."""
        run = RunDirectory(path)
        lines = [{name: line[name] for name in OF_EVALUATION if name in line} for line in run.read_history()]
        right = right_of(path)
        return cls(
            metrics=_brief(json.loads(run.metrics.read_text())),
            evaluations=[line for line in lines if any(name.startswith("eval_") for name in line)],
            documents=len(right),
            bits=base64.b64encode(np.packbits(right).tobytes()).decode(),
            search=json.loads(run.tuning.read_text()) if run.tuning.exists() else None,
            source=_source(run),
        )

    @classmethod
    def read(cls, file: Path) -> "Outcome":
        """What was written.

        Raises:
            InputError: where the file holds something else.
        """
        try:
            return cls(**json.loads(file.read_text()))
        except (ValueError, TypeError):
            raise InputError(f"{file} is no outcome of a run; remove it, and the run is done again") from None

    def write(self, file: Path) -> None:
        """Write it so that the file appears whole."""
        file.parent.mkdir(exist_ok=True)
        write_json(file, asdict(self))

    @property
    def right(self) -> Bool[np.ndarray, " n"]:
        """Whether the head was right about each test document that has a label."""
        packed = np.frombuffer(base64.b64decode(self.bits), dtype=np.uint8)
        return np.unpackbits(packed, count=self.documents).astype(bool)


def right_of(path: Path) -> Bool[np.ndarray, " n"]:
    """Whether the head of the run in a directory was right about each test document that has a label."""
    table = pyarrow.parquet.read_table(RunDirectory(path).predictions, columns=["split", "label", "prediction"])
    split, label, prediction = (np.asarray(table[name]) for name in ("split", "label", "prediction"))
    known = (split == "test") & (label != None)  # noqa: E711 - element by element
    return label[known] == prediction[known]


def _brief(scores: dict[str, Any]) -> dict[str, Any]:
    plain = {name: value for name, value in scores.items() if name != LONG}
    return {name: _brief(value) if isinstance(value, dict) else value for name, value in plain.items()}


def _source(run: RunDirectory) -> str:
    if not run.environment.exists():
        return "source unknown"
    found = json.loads(run.environment.read_text())
    device = found["processor"] if found["device"] == "cpu" else found["device"]
    versions = ", ".join(f"{name} {found['versions'][name]}" for name in ("graphloss", "torch", "transformers"))
    commit, *changes = str(found["commit"]).split(" ", 1)
    hardware = [device, f"{found['cores']} cores"]
    precision = run.saved_config().get("precision", "auto")
    if precision != "auto":  # as it was decided when the run began
        hardware.append(precision)
    return f"commit {' '.join([commit[:9], *changes])}, {', '.join(hardware)}; {versions}"
