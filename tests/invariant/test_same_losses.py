"""Runs through the command line that must trace the same losses and end in the same weights."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoConfig, AutoModel, AutoTokenizer

from graphloss.cli.main import main
from graphloss.models import parts
from graphloss.models.parts import Budget

BATCH, STEPS = 16, 20
Run = Callable[..., tuple[list[dict], dict[str, torch.Tensor]]]


@pytest.fixture
def without_dropout(encoders: dict[str, Path], tmp_path: Path) -> Path:
    folder = tmp_path / "without-dropout"
    config = AutoConfig.from_pretrained(encoders["bert"])
    config.hidden_dropout_prob = config.attention_probs_dropout_prob = 0.0
    AutoModel.from_pretrained(encoders["bert"], config=config).save_pretrained(folder)
    AutoTokenizer.from_pretrained(encoders["bert"]).save_pretrained(folder)
    return folder


@pytest.fixture
def run(data: Path, tmp_path: Path) -> Run:
    """Trains and gives the logged steps and the final weights."""

    def train(encoder: Path, *flags: str, name: str) -> tuple[list[dict], dict[str, torch.Tensor]]:
        folder = tmp_path / name
        usual = f"--use_cpu --per_device_train_batch_size {BATCH} --max_steps {STEPS} --logging_steps 1 --quiet".split()
        rates = ["--learning_rate", "1e-3", "--head_start", "random", "--save_strategy", "no", "--precision", "float32"]
        rates += ["--head_end", "trained"]  # a fitted one amplifies rounding
        given = ["--data", str(data), "--encoder", str(encoder), "--output_dir", str(folder)]
        assert main(["train", *given, *usual, *rates, *flags]) == 0
        history = [json.loads(line) for line in (folder / "history.jsonl").read_text().splitlines()]
        return [entry for entry in history if "ce_loss" in entry], load_file(folder / "model" / "model.safetensors")

    return train


def assert_same(got: tuple, expected: tuple, tolerance: float) -> None:
    assert len(got[0]) == len(expected[0]) == STEPS
    for mine, other in zip(got[0], expected[0], strict=True):
        for name in mine.keys() & {"loss", "ce_loss", "graph_loss", "grad_norm", "bandwidth"}:
            assert mine[name] == pytest.approx(other[name], rel=tolerance, abs=tolerance), (name, mine["step"])
    for name, weight in expected[1].items():
        torch.testing.assert_close(got[1][name], weight, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("loss", ["gloss", "ce"])
def test_cached_is_plain_with_dropout(
    loss: str, run: Run, encoders: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The parts are the same ones; of the cached run, most are computed again, and draw the same dropout again."""
    monkeypatch.setattr(parts, "CPU", Budget(tokens=30, overhead=0))
    plain = run(encoders["bert"], "--micro_batch_size", str(BATCH), "--loss", loss, name="plain")
    cached = run(encoders["bert"], "--micro_batch_size", "6", "--loss", loss, name="cached")
    assert_same(cached, plain, 1e-5)


def test_dropout_is_on(run: Run, encoders: dict[str, Path], without_dropout: Path) -> None:
    """The test above would see dropout that is not drawn again."""
    with_it, without = run(encoders["bert"], name="with"), run(without_dropout, name="without")
    assert abs(with_it[0][0]["ce_loss"] - without[0][0]["ce_loss"]) > 1e-4


@pytest.mark.parametrize("micro_batch_size", ["1", "5", "auto"])
def test_any_micro_batch_is_any_other(micro_batch_size: str, run: Run, without_dropout: Path) -> None:
    whole = run(without_dropout, "--micro_batch_size", str(BATCH), name="whole")
    other = run(without_dropout, "--micro_batch_size", micro_batch_size, name="other")
    assert_same(other, whole, 2e-4)


def test_split_is_whole(run: Run, without_dropout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parts, "CPU", Budget(tokens=10_000, overhead=10_000))
    whole = run(without_dropout, name="whole")
    monkeypatch.setattr(parts, "CPU", Budget(tokens=24, overhead=0))
    split = run(without_dropout, name="split")
    assert_same(split, whole, 2e-4)


def test_a_batch_that_draws_its_memory_is_the_same_cached(
    run: Run, encoders: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parts, "CPU", Budget(tokens=30, overhead=0))
    flags = ["--memory_size", "24", "--masking", "folds", "--bandwidth", "learned"]
    plain = run(encoders["bert"], *flags, "--micro_batch_size", str(BATCH), name="plain")
    cached = run(encoders["bert"], *flags, "--micro_batch_size", "6", name="cached")
    assert_same(cached, plain, 1e-5)
