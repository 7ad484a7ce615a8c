"""What a run tells programs while it trains: a file of one JSON object a line."""

import json
import time
from pathlib import Path
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments


class History(TrainerCallback):
    """Appends one JSON object to a file for each logged step and each evaluation, with the seconds of training so far.

    Args:
        path: of the file. On a resume, what lies beyond the step of the checkpoint is dropped first.

    Attributes:
        before: seconds of training up to the checkpoint that is gone on from.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.before = 0.0
        self.started = time.perf_counter()

    def on_train_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        self.go_on(state.global_step)

    def go_on(self, step: int) -> None:
        """Drop what lies beyond a step."""
        written = self.path.read_text().splitlines(keepends=True) if self.path.exists() else []
        lines = [line for line in written if line.endswith("\n")]  # a last one may have been cut off
        kept = [line for line in lines if json.loads(line)["step"] <= step]
        partial = self.path.with_name(self.path.name + ".partial")
        partial.write_text("".join(kept))
        partial.replace(self.path)
        self.before = json.loads(kept[-1])["seconds"] if kept else 0.0
        self.started = time.perf_counter()

    def on_log(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **given: Any) -> None:
        logs = given["logs"]
        if "train_runtime" in logs:  # at the end; of this process alone, where the run was resumed
            return
        with self.path.open("a") as file:
            seconds = self.before + time.perf_counter() - self.started
            file.write(json.dumps({"step": state.global_step} | logs | {"seconds": round(seconds, 3)}) + "\n")
