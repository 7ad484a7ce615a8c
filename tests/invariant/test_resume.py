"""A run that broke off and went on ends as if it never had: the same weights to the bit, the same history."""

import json
import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from transformers import TrainerCallback

from graphloss.cli.main import main
from graphloss.run import encoder_run
from graphloss.training.checkpoints import CHECKSUMS, Checkpoints

USUAL = (
    "--use_cpu --max_length 16 --per_device_train_batch_size 10 --num_train_epochs 3 --learning_rate 3e-3 --floor no "
    "--save_strategy steps --save_steps 4 --logging_steps 3 --quiet --precision float32"
)  # an epoch has 6 steps: checkpoints fall within epochs, and between two lines of the log
Train = Callable[..., Path]


class Breaks(TrainerCallback):
    """Does something after a step."""

    def __init__(self, step: int, how: Callable[[], None]) -> None:
        self.step, self.how = step, how

    def on_step_end(self, args: object, state: object, control: object, **_: object) -> None:
        if state.global_step == self.step:
            self.how()


class Gone(Exception):
    """As if the process had been killed."""


def vanish() -> None:
    raise Gone


@pytest.fixture
def train(encoders: dict[str, Path], data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Train:
    def run(name: str, *flags: str, stop: Breaks | None = None, status: int = 0) -> Path:
        output = tmp_path / name
        command = ["train", "--data", str(data), "--encoder", str(encoders["bert"]), "--output_dir", str(output)]
        with monkeypatch.context() as patch:
            if stop is not None:
                patch.setattr(encoder_run._EncoderRun, "_train", _with(stop, encoder_run._EncoderRun._train))
            try:
                assert main([*command, *USUAL.split(), *flags]) == status
            except Gone:
                assert stop is not None
        return output

    return run


def _with(stop: Breaks, original: Callable[..., None]) -> Callable[..., None]:
    return lambda self, trainer, checkpoint, callbacks: original(self, trainer, checkpoint, [*callbacks, stop])


def history(run: Path) -> list[dict]:
    lines = [json.loads(line) for line in (run / "history.jsonl").read_text().splitlines()]
    return [{name: value for name, value in line.items() if not _is_time(name)} for line in lines]


def _is_time(name: str) -> bool:
    return name == "seconds" or name.endswith(("_runtime", "_per_second"))


def assert_same(run: Path, whole: Path) -> None:
    assert history(run) == history(whole)
    weights, expected = (load_file(each / "model" / "model.safetensors") for each in (run, whole))
    assert weights.keys() == expected.keys()
    assert all(torch.equal(weights[name], expected[name]) for name in expected)
    scores = [json.loads((each / "metrics.json").read_text()) for each in (run, whole)]
    assert scores[0]["test"] == scores[1]["test"]
    assert not list(run.glob("checkpoint*"))


@pytest.mark.parametrize(
    "flags",
    [
        pytest.param("", id="plain", marks=pytest.mark.slow),
        pytest.param("--memory_size 24 --masking folds --bandwidth learned", id="memory"),
        pytest.param("--documents_per_class 3 --loss scl", id="class-aware", marks=pytest.mark.slow),
        pytest.param("--setup standalone --loss gloss", id="standalone", marks=pytest.mark.slow),
        pytest.param(
            "--head linear --head_start frozen --gradient_accumulation_steps 2",
            id="accumulated",
            marks=pytest.mark.slow,
        ),
    ],
)
def test_from_within_an_epoch(flags: str, train: Train) -> None:
    whole = train("whole", *flags.split())
    run = train("run", *flags.split(), stop=Breaks(7, vanish))
    assert (run / "checkpoint-4").exists()
    assert_same(train("run", *flags.split(), "--resume"), whole)


@pytest.mark.slow
def test_patience_goes_on_and_what_had_ended_takes_no_further_step(
    train: Train, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The rate is so high that the first evaluation is the best."""
    flags = ["--learning_rate", "0.3", "--num_train_epochs", "8", "--patience", "2", "--save_total_limit", "3"]
    whole = train("whole", *flags)
    steps = max(line["step"] for line in history(whole))
    assert steps < 48  # stopped early
    assert_same(train("run", *flags, stop=Breaks(steps - 1, vanish)) and train("run", *flags, "--resume"), whole)
    with monkeypatch.context() as patch:
        patch.setattr(encoder_run.Finish, "write", lambda *given: vanish())
        train("ended", *flags, stop=Breaks(-1, vanish))
    assert_same(train("ended", *flags, "--resume"), whole)


@pytest.mark.parametrize("number", [signal.SIGTERM, pytest.param(signal.SIGINT, marks=pytest.mark.slow)])
def test_a_signal_ends_the_step_and_leaves_a_checkpoint(
    number: signal.Signals, train: Train, capsys: pytest.CaptureFixture[str]
) -> None:
    before = signal.getsignal(number)
    whole = train("whole")
    train("run", stop=Breaks(5, lambda: os.kill(os.getpid(), number)), status=3)
    told = capsys.readouterr().err
    assert f"stopped by {number.name} after step 6" in told  # the callback that heeds it had its turn before
    assert "to go on from with --resume" in told
    assert signal.getsignal(number) == before
    assert_same(train("run", "--resume"), whole)


@pytest.mark.slow
@pytest.mark.parametrize("harm", ["flipped", "missing", "unsealed"])
def test_a_broken_checkpoint_is_passed_over(harm: str, train: Train, capsys: pytest.CaptureFixture[str]) -> None:
    whole = train("whole")
    run = train("run", stop=Breaks(11, vanish))
    latest = run / "checkpoint-8"
    weights = latest / "model.safetensors"
    if harm == "flipped":
        content = bytearray(weights.read_bytes())
        content[-1] ^= 1
        weights.write_bytes(content)
    else:
        (weights if harm == "missing" else latest / CHECKSUMS).unlink()
    capsys.readouterr()
    train("run", "--resume", "--quiet")
    assert_same(run, whole)


@pytest.mark.slow
def test_where_the_best_step_was_not_saved(train: Train) -> None:
    flags = ["--eval_strategy", "steps", "--eval_steps", "1"]
    whole = train("whole", *flags)
    assert_same(train("run", *flags, stop=Breaks(7, vanish)) and train("run", *flags, "--resume"), whole)


def test_broken_ones_are_named(train: Train, tmp_path: Path) -> None:
    run = train("run", stop=Breaks(11, vanish))
    checkpoints, said = Checkpoints(run), []
    assert checkpoints.whole(said.append) == run / "checkpoint-8"
    assert not list(run.rglob("training_args.bin"))
    (run / "checkpoint-8" / "optimizer.pt").write_bytes(b"")
    assert checkpoints.whole(said.append) == run / "checkpoint-4"
    assert said == [f"{run / 'checkpoint-8'} is not gone on from: optimizer.pt is not what was written"]
    shutil.rmtree(run / "checkpoint-4")
    assert checkpoints.whole(said.append) is None


@pytest.mark.slow
def test_a_history_whose_last_line_was_cut_off(train: Train) -> None:
    whole = train("whole")
    run = train("run", stop=Breaks(11, vanish))
    with (run / "history.jsonl").open("a") as file:
        file.write('{"step": 12, "lo')
    assert_same(train("run", "--resume"), whole)


@pytest.mark.slow
def test_a_checkpoint_that_cannot_be_written_leaves_those_before(
    train: Train, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = train("whole")
    full = lambda: monkeypatch.setattr(torch, "save", _full)  # noqa: E731
    run = train("run", stop=Breaks(7, full), status=3)
    monkeypatch.undo()
    assert "the checkpoint of step 8 could not be written (No space left on device)" in capsys.readouterr().err
    assert sorted(path.name for path in run.glob("checkpoint*")) == ["checkpoint-4"]
    assert_same(train("run", "--resume"), whole)


def _full(*given: object, **named: object) -> None:
    raise OSError("No space left on device")
