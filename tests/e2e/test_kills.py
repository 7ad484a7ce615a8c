"""Training that is killed at any moment, and goes on."""

import json
import random
import shutil
import signal
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoConfig, AutoModel, AutoTokenizer

from tests.e2e.in_a_process import start

KILLS, AIMED, WHILE_WRITING = 50, 25, 15
USUAL = (
    "--use_cpu --max_length 16 --per_device_train_batch_size 10 --num_train_epochs 4 --learning_rate 3e-3 --floor no "
    "--save_strategy steps --save_steps 2 --logging_steps 3 --patience 0 --memory_size 20 --precision float32 "
    "--cache_dir none"
)


@pytest.fixture
def slow_to_write(encoders: dict[str, Path], tmp_path: Path) -> Path:
    """An encoder whose checkpoints take a while: nearly all of its weights are embeddings of words that never come."""
    folder = tmp_path / "encoder"
    config = AutoConfig.from_pretrained(encoders["bert"], vocab_size=100_000)
    torch.manual_seed(0)
    AutoModel.from_config(config).save_pretrained(folder)
    AutoTokenizer.from_pretrained(encoders["bert"]).save_pretrained(folder)
    return folder


@pytest.mark.slow
def test_killed_at_any_moment_it_ends_as_if_it_had_not_been(slow_to_write: Path, data: Path, tmp_path: Path) -> None:
    def command(name: str) -> list[str]:
        given = ["--data", str(data), "--encoder", str(slow_to_write), "--output_dir", str(tmp_path / name)]
        return ["train", *given, *USUAL.split()]

    began = time.monotonic()
    assert _wait(start(command("whole"), tmp_path / "whole.log")) == 0
    took = time.monotonic() - began
    whole, draw, while_writing = _result(tmp_path / "whole"), random.Random(0), 0
    for number in range(KILLS):
        run, log = tmp_path / f"run-{number}", tmp_path / f"run-{number}.log"
        process = start(command(run.name), log)
        if number < AIMED:
            _until_it_writes(run, draw.randint(1, 10))
            time.sleep(draw.uniform(0.0, 0.1))
        else:
            time.sleep(draw.uniform(0.0, took))
        process.kill()
        assert _wait(process) in (-signal.SIGKILL, 0)
        while_writing += (run / "checkpoint.partial").exists()
        assert _wait(start([*command(run.name), "--resume"], log)) == 0, log.read_text()
        got = _result(run)
        assert got[1] == whole[1], f"kill {number}"
        assert all(torch.equal(got[0][name], weight) for name, weight in whole[0].items()), f"kill {number}"
        assert not [*run.glob("*.partial"), *run.glob("checkpoint-*")]
        shutil.rmtree(run)
    assert while_writing >= WHILE_WRITING


def _until_it_writes(run: Path, checkpoints: int) -> None:
    """Wait until so many checkpoints were begun, or as many as there are."""
    begun, writing = 0, False
    while not (run / "metrics.json").exists():
        now = (run / "checkpoint.partial").exists()
        begun += now and not writing
        writing = now
        if begun == checkpoints:
            return
        time.sleep(0.001)


def _wait(process) -> int | None:
    process.join(timeout=120)
    return process.exitcode


def _result(run: Path) -> tuple[dict[str, torch.Tensor], list[dict]]:
    """The weights, and the history but for times."""
    lines = [json.loads(line) for line in (run / "history.jsonl").read_text().splitlines()]
    times = ("seconds", "eval_runtime", "eval_samples_per_second", "eval_steps_per_second")
    history = [{name: value for name, value in line.items() if name not in times} for line in lines]
    return load_file(run / "model" / "model.safetensors"), history
