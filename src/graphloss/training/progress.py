"""What a run tells people while it trains: a live table on a terminal, plain lines elsewhere."""

import time
from typing import Any

from rich.console import Console, Group
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

LOSSES = {"loss": "loss", "graph_loss": "graph loss", "metric_loss": "metric loss", "ce_loss": "cross-entropy"}
SCORES = {"accuracy": "accuracy", "macro_f1": "macro-F1", "macro_silhouette": "macro-silhouette"}
HEAD_SCORES = ("accuracy", "macro_f1")  # where there is a head
LINES = 12  # of a live table; all of them stand there in the end

Entry = dict[str, float]


class Report(TrainerCallback):
    """Shows losses, validation scores and the time that is left.

    Args:
        console: where to. On a terminal a table grows by a line for each evaluation, above a bar; elsewhere lines come
            that a log file can hold.
    """

    def __init__(self, console: Console) -> None:
        self.console = console
        self.started = 0.0
        self.first_step = 0
        self.losses: Entry = {}
        self.evaluations: list[Entry] = []
        self.decides, self.greater_is_better = "macro_f1", True
        self.bar = Progress(MofNCompleteColumn(), BarColumn(), TextColumn("{task.description}"), TimeRemainingColumn())
        self.live: Live | None = None

    def on_train_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        self.started, self.first_step = time.monotonic(), state.global_step
        self.decides = str(args.metric_for_best_model).removeprefix("eval_")
        self.greater_is_better = args.greater_is_better is not False
        for entry in state.log_history:  # of the run that is gone on with
            self._take(entry)
        if self.console.is_terminal:
            self.task = self.bar.add_task("", total=state.max_steps, completed=state.global_step)
            self.live = Live(console=self.console, get_renderable=lambda: Group(self._table(LINES), self.bar))
            self.live.start()

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        if self.live:
            self.bar.update(self.task, completed=state.global_step)

    def on_log(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **given: Any) -> None:
        if "loss" not in given["logs"]:
            return
        self._take(given["logs"])
        losses = _told(self.losses)
        if self.live:
            self.bar.update(self.task, description=losses)
        else:
            self._print(f"step {state.global_step}/{state.max_steps}  {losses}  {self._left(state)} left")

    def on_evaluate(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **given: Any) -> None:
        scores = self._take({"step": state.global_step, "epoch": state.epoch or 0.0} | given["metrics"])
        if not self.live:
            self._print(
                f"step {state.global_step}/{state.max_steps}  epoch {state.epoch:.1f}  validation {_told(scores)}"
            )

    def on_train_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        self.close()
        if state.global_step < state.max_steps:
            self._print(f"stopped early at step {state.global_step}: no better validation score since")

    def close(self) -> None:
        """Leave the whole table on the terminal, and the bar not."""
        if self.live:
            self.live.transient = True
            self.live.stop()
            self.live = None
            if self.evaluations:
                self.console.print(self._table(len(self.evaluations)))

    def _take(self, entry: Entry) -> Entry:
        """Note the losses of a line of the log, or a line of the table; returns its scores."""
        if "loss" in entry:
            self.losses = {title: entry[name] for name, title in LOSSES.items() if name in entry}
        names = dict.fromkeys((*(HEAD_SCORES if "eval_accuracy" in entry else ()), self.decides))
        scores = {_title(name): entry[f"eval_{name}"] for name in names if f"eval_{name}" in entry}
        if scores:
            self.evaluations.append({"step": entry["step"], "epoch": entry["epoch"], **self.losses, **scores})
        return scores

    def _table(self, lines: int) -> Table:
        """The last evaluations, and the best one of all."""
        table, score = Table(box=None, header_style="dim", pad_edge=False), _title(self.decides)
        found = dict.fromkeys(name for entry in self.evaluations for name in entry)
        first = [name for name in ("step", "epoch", *LOSSES.values()) if name in found]
        names = [*first, *(name for name in found if name not in first)]
        for name in (*names, ""):
            table.add_column(name, justify="right")
        choose = max if self.greater_is_better else min
        scored = [entry for entry in self.evaluations if score in entry]  # it is left out where it is not finite
        best = choose(scored, key=lambda entry: entry[score], default=None)
        earlier = [entry for entry in self.evaluations[:-lines] if entry is best]
        for entry in earlier + self.evaluations[-lines:]:
            cells = [_cell(name, entry.get(name)) for name in names]
            table.add_row(*cells, "best" if entry is best else "", style="bold" if entry is best else None)
        return table

    def _left(self, state: TrainerState) -> str:
        done = state.global_step - self.first_step
        seconds = (time.monotonic() - self.started) / max(done, 1) * (state.max_steps - state.global_step)
        minutes, seconds = divmod(round(seconds), 60)
        hours, minutes = divmod(minutes, 60)
        return f"{hours}:{minutes:02}:{seconds:02}"

    def _print(self, line: str) -> None:
        self.console.print(line, markup=False, highlight=False, soft_wrap=True)


def _title(name: str) -> str:
    return SCORES.get(name, f"validation {name}")


def _told(values: Entry) -> str:
    return "  ".join(f"{title} {value:.4f}" for title, value in values.items())


def _cell(name: str, value: float | None) -> str:
    if value is None:
        return ""
    digits = {"step": 0, "epoch": 1}.get(name, 4)
    return f"{value:.{digits}f}"
