"""What a run tells while it trains: a file for programs, lines or a bar for people."""

import json
import time
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
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


class Report(TrainerCallback):
    """Shows progress: a bar on a terminal, plain lines elsewhere.

    Args:
        console: where to.
    """

    def __init__(self, console: Console) -> None:
        self.console = console
        self.bar: Progress | None = None
        self.started = 0.0
        self.first_step = 0

    def on_train_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        self.started, self.first_step = time.monotonic(), state.global_step
        if self.console.is_terminal:
            columns = (MofNCompleteColumn(), BarColumn(), TextColumn("{task.description}"), TimeRemainingColumn())
            self.bar = Progress(*columns, console=self.console, transient=True)
            self.task = self.bar.add_task("", total=state.max_steps, completed=state.global_step)
            self.bar.start()

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        if self.bar:
            self.bar.update(self.task, completed=state.global_step)

    def on_log(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **given: Any) -> None:
        logs = given["logs"]
        if "loss" not in logs:
            return
        losses = "  ".join(
            f"{name.replace('_', ' ')} {logs[name]:.4f}"
            for name in ("loss", "graph_loss", "metric_loss", "ce_loss")
            if name in logs
        )
        if self.bar:
            self.bar.update(self.task, description=losses)
        else:
            self._print(f"step {state.global_step}/{state.max_steps}  {losses}  {self._left(state)} left")

    def on_evaluate(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **given: Any) -> None:
        metrics = given["metrics"]
        shown = {"accuracy": "accuracy", "macro_f1": "macro-F1"}
        if "eval_accuracy" not in metrics:
            shown = {"macro_silhouette": "macro-silhouette"}
        scores = "  ".join(f"{text} {metrics[f'eval_{name}']:.4f}" for name, text in shown.items())
        self._print(f"step {state.global_step}/{state.max_steps}  epoch {state.epoch:.1f}  validation {scores}")

    def on_train_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        self.close()
        if state.global_step < state.max_steps:
            self._print(f"stopped early at step {state.global_step}: no better validation score since")

    def close(self) -> None:
        """Take the bar off the terminal."""
        if self.bar:
            self.bar.stop()
            self.bar = None

    def _left(self, state: TrainerState) -> str:
        done = state.global_step - self.first_step
        seconds = (time.monotonic() - self.started) / max(done, 1) * (state.max_steps - state.global_step)
        minutes, seconds = divmod(round(seconds), 60)
        hours, minutes = divmod(minutes, 60)
        return f"{hours}:{minutes:02}:{seconds:02}"

    def _print(self, line: str) -> None:
        self.console.print(line, markup=False, highlight=False, soft_wrap=True)
