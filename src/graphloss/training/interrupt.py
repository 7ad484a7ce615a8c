"""Signals that ask a run to stop: it finishes its step and writes a checkpoint first."""

import signal
import threading
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from graphloss.training.distributed import holds_anywhere

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interrupted(KeyboardInterrupt):
    """Training was asked to stop, and has, after a checkpoint."""


class StopOnSignal(TrainerCallback):
    """Heeds the first signal after the step that is under way, and a second one at once.

    Of several processes all stop where one received it.

    Attributes:
        received: the signal, if there was one.
        stopping: whether there was one in any process.
    """

    def __init__(self) -> None:
        self.received: signal.Signals | None = None
        self.stopping = False
        self._before: dict[signal.Signals, Any] = {}

    def on_train_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        if threading.current_thread() is threading.main_thread():
            self._before = {each: signal.signal(each, self._receive) for each in SIGNALS}

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        if holds_anywhere(self.received is not None):
            self.stopping = control.should_save = True

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        if self.stopping:
            signal_name = "a signal to another process" if self.received is None else self.received.name
            raise Interrupted(f"stopped by {signal_name} after step {state.global_step}")

    def restore(self) -> None:
        """Let signals do what they did before."""
        for each, handler in self._before.items():
            signal.signal(each, handler)
        self._before = {}

    def _receive(self, number: int, frame: Any) -> None:
        if self.received is not None:
            raise KeyboardInterrupt
        self.received = signal.Signals(number)
