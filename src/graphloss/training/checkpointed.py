"""A trainer whose checkpoints appear whole and are gone on from to the bit."""

from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import Trainer, TrainerState
from transformers.trainer import TRAINING_ARGS_NAME

from graphloss.training.checkpoints import STATE, Checkpoints
from graphloss.training.config import TrainingConfig
from graphloss.training.distributed import wait_for_all

LOSS_STATE = "graph_loss.pt"


class CheckpointedTrainer(Trainer):
    """`transformers.Trainer` that writes checkpoints beside and renames them, checks them, and drops old ones after.

    Args:
        model: as in `transformers.Trainer`.
        args: the settings of training; `output_dir` gets the checkpoints.
        others: as in `transformers.Trainer`.

    Attributes:
        keeps_last: whether training that came to its end keeps the weights it ended with, whatever scored best before;
            for runs whose head is made after training.
    """

    args: TrainingConfig
    keeps_last = False

    def __init__(self, model: nn.Module, args: TrainingConfig, **others: Any) -> None:
        self.checkpoints = Checkpoints(Path(str(args.output_dir)))
        self._writing: Path | None = None
        super().__init__(model, args, **others)

    def progress(self) -> dict[str, Any]:
        """What a checkpoint keeps beside weights, optimizer and schedule: tensors, numbers, lists and dicts of them."""
        return {}

    def go_on(self, progress: dict[str, Any]) -> None:
        """Go on from what `progress` gave."""

    def restore(self, checkpoint: Path) -> None:
        """Take the weights that training ended with, without a further step.

        Args:
            checkpoint: of the last step.
        """
        self.state = TrainerState.load_from_json(str(checkpoint / STATE))
        self._point_to_best()
        best = self.args.load_best_model_at_end and self.state.best_model_checkpoint is not None
        if best and not self._stays_at_last():
            self._load_best_model()
        else:
            self._load_from_checkpoint(str(checkpoint))

    def _load_best_model(self) -> None:
        if not self._stays_at_last():
            super()._load_best_model()

    def _stays_at_last(self) -> bool:
        return self.keeps_last and self.state.global_step >= self.state.max_steps  # else it was stopped early

    def _get_output_dir(self, trial: Any) -> str:
        return super()._get_output_dir(trial) if self._writing is None else str(self._writing)

    def _save_checkpoint(self, model: nn.Module, trial: Any) -> None:
        """As in `transformers.Trainer`, but a checkpoint appears whole, and old ones go when it has been checked."""
        checkpoints, step = self.checkpoints, self.state.global_step
        first = self.args.should_save
        with checkpoints.writing(step) if first else nullcontext(checkpoints.unfinished) as folder:
            wait_for_all()  # for the folder
            self._writing = folder
            try:
                super()._save_checkpoint(model, trial)
            finally:
                self._writing = None
            self._point_to_best()
            wait_for_all()  # all have written
            if first:
                self.state.save_to_json(str(folder / f"checkpoint-{step}" / STATE))
        if first:
            checkpoints.drop_old(self.args.save_total_limit, self.state.best_model_checkpoint)
        wait_for_all()  # it is in its place

    def _point_to_best(self) -> None:
        """The checkpoint of the best weights that were saved, wherever the run directory lies now."""
        kept = self.state.best_model_checkpoint
        name = Path(kept).name if kept else f"checkpoint-{self.state.best_global_step}"
        path = self.checkpoints.folder / name
        self.state.best_model_checkpoint = str(path) if kept or path.exists() else None

    def _init_training_state(self, *arguments: Any, **settings: Any) -> tuple[int, int]:
        begun = super()._init_training_state(*arguments, **settings)
        self._point_to_best()
        return begun

    def _save(self, output_dir: str | None = None, state_dict: dict | None = None) -> None:
        super()._save(output_dir, state_dict)
        (Path(output_dir or str(self.args.output_dir)) / TRAINING_ARGS_NAME).unlink(missing_ok=True)  # a pickle

    def _save_optimizer_and_scheduler(self, output_dir: str) -> None:
        super()._save_optimizer_and_scheduler(output_dir)
        if self.args.should_save:
            torch.save(self.progress(), Path(output_dir) / LOSS_STATE)

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        super()._load_optimizer_and_scheduler(checkpoint)
        if checkpoint is not None and (path := Path(checkpoint) / LOSS_STATE).exists():
            self.go_on(torch.load(path, map_location=self.args.device, weights_only=True))
