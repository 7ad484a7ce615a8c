"""The drop of the learning rate."""

import json
from pathlib import Path

import pytest
from datasets import Dataset

from graphloss.errors import InputError
from graphloss.run import RunConfig
from graphloss.training.loading import documents_of_an_epoch
from graphloss.training.schedule import usual_rate
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


@pytest.mark.parametrize(
    ("documents", "settings", "steps"),
    [(24, {}, 40), (56, {}, 60), (80, {}, 0), (24, {"num_train_epochs": 2}, 0), (24, {"eval_strategy": "epoch"}, 0)],
)
def test_few_documents_are_trained_on_for_enough_steps(
    documents: int, settings: dict, steps: int, encoders: dict[str, Path], tmp_path: Path
) -> None:
    args = make(encoders["bert"], tmp_path, documents=documents, **settings).args  # 8 documents a batch
    assert max(args.max_steps, 0) == steps
    assert (args.eval_strategy, args.save_strategy) == (("steps", "steps") if steps else ("epoch", "epoch"))
    assert not steps or args.eval_steps == args.save_steps == 10


def test_documents_without_a_label_make_no_epoch_longer() -> None:
    tokens = Dataset.from_dict({"labels": [0, -100, 1, -100, -100]})
    assert documents_of_an_epoch(tokens) == 2
    assert documents_of_an_epoch(tokens.rename_column("labels", "input_ids")) == 5


def test_the_usual_learning_rate_falls_with_the_width_and_is_half_for_few(
    encoders: dict[str, Path], tmp_path: Path
) -> None:
    assert [usual_rate(width) for width in (128, 384, 768, 1024)] == pytest.approx([1e-4, 1e-4, 5e-5, 3.75e-5])
    rates = [make(encoders["bert"], tmp_path, documents=documents).args.learning_rate for documents in (72, 80)]
    assert rates == pytest.approx([5e-5, 1e-4])
    assert make(encoders["bert"], tmp_path, learning_rate=2e-5).args.learning_rate == 2e-5


def test_what_was_decided_is_repeated(tmp_path: Path) -> None:
    config = RunConfig.of({"data": "mr", "output_dir": str(tmp_path)})
    config.training.settle_schedule(100, 384)
    again = RunConfig.of(config.to_dict())
    again.training.settle_schedule(100_000, 768)
    names = ("max_steps", "eval_strategy", "eval_steps", "save_strategy", "save_steps", "learning_rate")
    decided, repeated = ([getattr(each.training, name) for name in names] for each in (config, again))
    assert decided == repeated == [40, "steps", 10, "steps", 10, 5e-5]
