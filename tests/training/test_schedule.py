"""The drop of the learning rate."""

import json
from pathlib import Path

import pytest

from graphloss.errors import InputError
from tests.training.test_trainer import make


def rates(trainer, folder: Path) -> list[float]:
    trainer.train()
    trainer.save_state()
    history = json.loads((folder / "trainer_state.json").read_text())["log_history"]
    return [line["learning_rate"] for line in history if "learning_rate" in line]


def test_a_tenth_from_an_epoch_on(encoders: dict[str, Path], tmp_path: Path) -> None:
    settings = {"lr_scheduler_type": "constant", "warmup_steps": 0, "learning_rate": 1e-3, "logging_steps": 1}
    trainer = make(encoders["bert"], tmp_path, num_train_epochs=3, learning_rate_drop=2, save_strategy="no", **settings)
    assert rates(trainer, tmp_path) == pytest.approx([1e-3] * 6 + [1e-4] * 3)  # 24 documents, 8 a batch


def test_a_schedule_by_scores_is_refused(encoders: dict[str, Path], tmp_path: Path) -> None:
    trainer = make(
        encoders["bert"], tmp_path, learning_rate_drop=1, lr_scheduler_type="reduce_lr_on_plateau", warmup_steps=0
    )
    with pytest.raises(InputError, match="needs a schedule by steps"):
        trainer.train()
