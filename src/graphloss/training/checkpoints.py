"""Checkpoints that appear whole or not at all, and that are checked before they are gone on from."""

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

CHECKSUMS, STATE = "checksums.json", "trainer_state.json"


class NotSaved(RuntimeError):
    """A checkpoint could not be written; says which, and why."""


@dataclass(frozen=True)
class Checkpoints:
    """The checkpoints of a run.

    Attributes:
        folder: the run directory, which holds one folder for each.
    """

    folder: Path

    @property
    def unfinished(self) -> Path:
        """Where the next one is written."""
        return self.folder / "checkpoint.partial"

    def all(self) -> list[Path]:
        """All of them, the latest first."""
        found = [path for path in self.folder.glob("checkpoint-*") if path.name.split("-")[1].isdecimal()]
        return sorted(found, key=lambda path: int(path.name.split("-")[1]), reverse=True)

    def remove(self) -> None:
        """Remove them all, and what is left of one that was cut off."""
        for path in (*self.all(), self.unfinished):
            shutil.rmtree(path, ignore_errors=True)

    def whole(self, say: Callable[[str], None]) -> Path | None:
        """The latest that is whole, together with the one that holds the best weights so far; None where there is none.

        Args:
            say: told of each that is passed over, in one line.
        """
        for path in self.all():
            wrong = broken(path)
            if wrong is None and (best := self._best(path)) not in (None, path):
                wrong = broken(best)
            if wrong is None:
                return path
            say(f"{path} is not gone on from: {wrong}")
        return None

    def _best(self, path: Path) -> Path | None:
        """The checkpoint of the best weights when another was written."""
        best = json.loads((path / STATE).read_text()).get("best_model_checkpoint")
        return self.folder / Path(best).name if best else None

    @contextmanager
    def writing(self, step: int) -> Iterator[Path]:
        """Gives a folder to write the checkpoint of a step into, which appears when that is done and checked.

        Raises:
            NotSaved: where it cannot be written; what is there already stays.
        """
        name = f"checkpoint-{step}"
        shutil.rmtree(self.unfinished, ignore_errors=True)
        try:
            (self.unfinished / name).mkdir(parents=True)
            yield self.unfinished
            _seal(self.unfinished / name)
            shutil.rmtree(self.folder / name, ignore_errors=True)  # a broken one that was passed over
            (self.unfinished / name).replace(self.folder / name)
        except Exception as error:  # safetensors, torch and the system each have their own for a full disk
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise NotSaved(f"the checkpoint of step {step} could not be written ({reason})") from error
        finally:
            shutil.rmtree(self.unfinished, ignore_errors=True)
        wrong = broken(self.folder / name)
        if wrong is not None:
            raise NotSaved(f"the checkpoint of step {step} was not written as it should be: {wrong}")

    def drop_old(self, most: int | None, best: str | None) -> None:
        """Remove the oldest, but for the latest and the best, so that so many are left; with None for `most` none."""
        found = self.all()
        excess = len(found) - most if most else 0
        others = [path for path in reversed(found[1:]) if path.name != Path(best or "").name]
        for path in others[: max(excess, 0)]:
            shutil.rmtree(path)


def was_last(path: Path) -> bool:
    """Whether training ended with a checkpoint, stopped early or not, so that another step would be one too many."""
    state = json.loads((path / STATE).read_text())
    control = state["stateful_callbacks"]["TrainerControl"]["args"]
    return bool(control["should_training_stop"]) or state["global_step"] >= state["max_steps"]


def broken(path: Path) -> str | None:
    """What is wrong with a checkpoint; None where every file is as it was written."""
    try:
        sums = json.loads((path / CHECKSUMS).read_text())
        found = {name: _digest(path / name) for name in sums}
    except (OSError, ValueError) as error:
        return f"{path.name} is not complete ({type(error).__name__})"
    wrong = [name for name, digest in sums.items() if found[name] != digest]
    return f"{wrong[0]} is not what was written" if wrong else None


def _seal(path: Path) -> None:
    """Write down checksums of all files, and see to it that they are on the disk."""
    files = sorted(file for file in path.iterdir() if file.is_file())
    for file in files:
        _flush(file)
    (path / CHECKSUMS).write_text(json.dumps({file.name: _digest(file) for file in files}))
    _flush(path / CHECKSUMS)


def _flush(file: Path) -> None:
    with file.open("rb") as content:
        os.fsync(content.fileno())


def _digest(file: Path) -> str:
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()
