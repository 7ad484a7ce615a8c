"""What training keeps for its report: the same documents, as the encoder saw them at each evaluation."""

from pathlib import Path
from typing import Any

import numpy as np
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from graphloss.training.trainer import GraphLossTrainer

SAMPLE = 256  # documents: a graph that can be drawn, and hardly a part of an evaluation


class Recorder(TrainerCallback):
    """Writes the embeddings of some validation documents before the first step and at each evaluation.

    Args:
        trainer: whose evaluations they are.
        folder: gets a file a moment, `step-STEP.npy`, (n, d) float16, and `rows.npy`, which documents these are.

    Evaluations embed these documents anyway; what is added is one pass over them before the first step.
    """

    def __init__(self, trainer: GraphLossTrainer, folder: Path) -> None:
        self.trainer, self.folder = trainer, folder
        self.rows = np.zeros(0, dtype=np.int64)

    def on_train_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        tokens: Any = self.trainer.eval_dataset
        self.rows = np.sort(np.random.default_rng(args.seed).permutation(len(tokens))[:SAMPLE])
        if state.global_step == 0:
            model = self.trainer.classifier
            training = model.training
            embeddings = self.trainer.answer(tokens.select(self.rows)).embeddings  # by all processes together
            model.train(training)
            if state.is_world_process_zero:
                self.folder.mkdir(parents=True, exist_ok=True)
                np.save(self.folder / "rows.npy", self.rows)
                self._write(0, embeddings.numpy())

    def on_evaluate(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        embeddings = self.trainer.embeddings
        if embeddings is not None and state.is_world_process_zero and self.folder.exists():
            self._write(state.global_step, embeddings.numpy()[self.rows])

    def _write(self, step: int, embeddings: np.ndarray) -> None:
        file = self.folder / f"step-{step:08}.npy"
        with file.with_suffix(".partial").open("wb") as content:
            np.save(content, embeddings.astype(np.float16))
        file.with_suffix(".partial").replace(file)
