"""Two processes of half a batch trace the losses of one process of the whole, and end in its weights."""

import os
import signal
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from tests.conftest import sentences
from tests.e2e.in_a_process import start, start_together
from tests.invariant.histories import history, largest_difference

TOLERANCE = 2e-4
BATCH, STEPS, DOCUMENTS = 16, 50, 33  # the last batch of an epoch is one document
USUAL = (
    f"train --use_cpu --quiet --max_steps {STEPS} --logging_steps 1 --learning_rate 1e-3 --dropout 0 --no_floor "
    "--precision float32 --eval_strategy steps --eval_steps 25 --cache_dir none --head_end trained"
).split()  # a fitted head amplifies rounding; one case has it
CASES = {
    "gloss": ["--loss", "gloss", "--head_end", "fitted"],
    "nll": ["--loss", "gloss", "--objective", "nll", "--masking", "stratified", "--bandwidth", "sqrt"],
    "memory": ["--loss", "gloss", "--memory_size", "24", "--masking", "folds"],
    "matrix-free": ["--loss", "gloss", "--solver", "matrix-free", "--micro_batch_size", "2"],
    "learned width": ["--loss", "gloss", "--bandwidth", "learned", "--pooling", "mean"],
    "released": ["--loss", "gloss", "--transition", "released", "--objective", "released-combined"],
    "standalone": ["--loss", "gloss", "--setup", "standalone", "--bandwidth", "local"],
    "class-aware": ["--loss", "gloss", "--documents_per_class", "4"],
    "linear head": ["--loss", "gloss", "--head", "linear", "--head_start", "frozen"],
    "ce": ["--loss", "ce", "--class_weights", "balanced"],
    "scl": ["--loss", "scl"],
    "triplet": ["--loss", "triplet"],
    "cosine": ["--loss", "cosine", "--setup", "standalone"],
}
FSDP = {
    "ACCELERATE_USE_FSDP": "true",
    "FSDP_VERSION": "2",
    "FSDP_AUTO_WRAP_POLICY": "TRANSFORMER_BASED_WRAP",
    "FSDP_TRANSFORMER_CLS_TO_WRAP": "BertLayer",
    "FSDP_STATE_DICT_TYPE": "FULL_STATE_DICT",
    "FSDP_RESHARD_AFTER_FORWARD": "true",
    "FSDP_CPU_RAM_EFFICIENT_LOADING": "false",
}


@pytest.fixture
def few_documents(tmp_path: Path) -> Path:
    folder = tmp_path / "few"
    folder.mkdir()
    for split, size, seed in (("train", DOCUMENTS, 1), ("validation", 24, 2), ("test", 24, 3)):
        rows = ["text,label", *map(",".join, zip(*sentences(size, seed), strict=True))]
        (folder / f"{split}.csv").write_text("\n".join(rows) + "\n")
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
def test_two_processes_are_one(case: str, encoders: dict[str, Path], few_documents: Path, tmp_path: Path) -> None:
    given = [*USUAL, "--encoder", str(encoders["bert"]), "--data", str(few_documents), *CASES[case]]
    assert_two_are_one(given, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("micro_batch_size", ["1", "auto"])
def test_two_processes_that_share_weights_are_one(
    micro_batch_size: str, encoders: dict[str, Path], few_documents: Path, tmp_path: Path
) -> None:
    given = [*USUAL, "--encoder", str(encoders["bert"]), "--data", str(few_documents)]
    assert_two_are_one([*given, "--micro_batch_size", micro_batch_size], tmp_path, **FSDP)


def assert_two_are_one(given: list[str], tmp_path: Path, **environment: str) -> None:
    """Losses of every step and the last weights, of one process and of two with these variables."""
    folders = {count: tmp_path / f"of-{count}" for count in (1, 2)}
    processes = [
        start([*given, *_own(folders[1], BATCH)], tmp_path / "log.one"),
        *start_together([*given, *_own(folders[2], BATCH // 2)], tmp_path / "log", 2, **environment),
    ]
    for process in processes:
        process.join(180)
    logs = "\n".join(path.read_text() for path in sorted(tmp_path.glob("log.*")))
    assert [process.exitcode for process in processes] == [0, 0, 0], logs

    assert len(steps(folders[1])) == STEPS
    assert largest_difference(folders[1], folders[2]) < TOLERANCE
    one, two = (load_file(folders[count] / "model" / "model.safetensors") for count in (1, 2))
    for name, weight in one.items():
        torch.testing.assert_close(two[name], weight, rtol=2e-3, atol=2e-3)


def _own(folder: Path, batch_size: int) -> list[str]:
    return ["--output_dir", str(folder), "--per_device_train_batch_size", str(batch_size)]


def steps(run: Path) -> list[dict]:
    return [entry for entry in history(run) if "loss" in entry]


@pytest.mark.slow
def test_a_signal_to_one_process_stops_both_and_nothing_is_lost(
    encoders: dict[str, Path], few_documents: Path, tmp_path: Path
) -> None:
    usual = [*USUAL, "--encoder", str(encoders["bert"]), "--data", str(few_documents), "--dropout", "0.1"]
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    for process in start_together([*usual, *_own(whole, BATCH // 2)], tmp_path / "log.whole", 2):
        process.join(180)
    stopped = start_together([*usual, *_own(cut, BATCH // 2)], tmp_path / "log.cut", 2)
    while not (cut / "history.jsonl").exists() or len(steps(cut)) < 5:
        time.sleep(0.01)
        assert all(process.exitcode is None for process in stopped)
    assert stopped[1].pid is not None
    os.kill(stopped[1].pid, signal.SIGTERM)
    for process in stopped:
        process.join(180)
    assert [process.exitcode for process in stopped] == [3, 3]
    assert len(steps(cut)) < STEPS
    for process in start_together([*usual, *_own(cut, BATCH // 2), "--resume"], tmp_path / "log.resumed", 2):
        process.join(180)
        assert process.exitcode == 0
    assert [entry["loss"] for entry in steps(cut)] == [entry["loss"] for entry in steps(whole)]
    weights = [load_file(folder / "model" / "model.safetensors") for folder in (whole, cut)]
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])
