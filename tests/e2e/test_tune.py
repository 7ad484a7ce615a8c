"""A search, through the command line."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pyarrow.parquet
import pytest

from graphloss.cli.main import main


@pytest.fixture
def flags(data: Path, encoders: dict[str, Path], tmp_path: Path) -> list[str]:
    usual = (
        "--max_length 16 --per_device_train_batch_size 10 --use_cpu --num_train_epochs 3 --head linear --pooling mean"
    )
    folders = ["--data", str(data), "--encoder", str(encoders["bert"]), "--output_dir", str(tmp_path / "out")]
    return ["tune", *folders, *usual.split()]


def test_the_best_trial_is_kept_and_alone_sees_the_test_documents(
    flags: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    search = ["--trials", "5", "--search", "learning_rate=1e-6,3e-3", "--search", "graph_weight=0.1:0.5"]
    assert main([*flags, *search]) == 0
    printed = capsys.readouterr().out
    assert "test: accuracy" in printed
    assert "importance" in printed
    out = tmp_path / "out"
    summary = json.loads((out / "tuning.json").read_text())
    assert summary["trials"] == 5
    assert summary["settings"]["learning_rate"] == 3e-3
    assert summary["seconds"] > 0
    best = json.loads((out / "best" / "metrics.json").read_text())
    assert best["validation"]["macro_f1"] == summary["validation_score"]
    assert best["test"]["n"] == best["graph"]["test"]["n"] == 24
    assert best["validation"].keys() == best["test"].keys()
    for metrics in out.glob("trials/*/metrics.json"):
        assert "test" not in json.loads(metrics.read_text())
    rows = pyarrow.parquet.read_table(out / "best" / "predictions.parquet").to_pydict()["split"]
    assert rows == ["validation"] * 24 + ["test"] * 24
    assert main(["predict", "--graph", "--model", str(out / "best"), "--input", str(Path(flags[2]) / "test.csv"),
                 "--output", str(tmp_path / "predicted.csv")]) == 0  # fmt: skip
    capsys.readouterr()
    assert main([*flags, *search]) == 0  # it is over
    assert "trial 5" not in capsys.readouterr().out
    assert main([*flags, *search, "--seed", "7", "--search", "memory_size=0,64"]) == 2
    assert "holds a study with other search, seed; name another --output_dir" in capsys.readouterr().err


def test_a_trial_whose_worker_died_is_queued_again(
    flags: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    optuna = pytest.importorskip("optuna")
    (tmp_path / "out" / "trials").mkdir(parents=True)
    backend = optuna.storages.journal.JournalFileBackend(str(tmp_path / "out" / "study.log"))
    study = optuna.create_study(
        storage=optuna.storages.JournalStorage(backend), study_name="graphloss", direction="maximize"
    )
    study.ask().suggest_categorical("learning_rate", (1e-3, 2e-3))  # and nothing comes of it
    assert main([*flags, "--trials", "2", "--search", "learning_rate=1e-3,2e-3"]) == 0
    printed = capsys.readouterr().out
    assert "trial 0  its worker died; queued again" in printed
    assert json.loads((tmp_path / "out" / "tuning.json").read_text())["trials"] == 2


@pytest.mark.slow
def test_a_database_holds_the_study(flags: list[str], tmp_path: Path) -> None:
    storage = ["--storage", f"sqlite:///{tmp_path / 'study.db'}"]
    for trials in ("1", "3"):  # more than before: it goes on
        assert main([*flags, *storage, "--trials", trials, "--loss", "scl", "--max_steps", "2"]) == 0
    summary = json.loads((tmp_path / "out" / "tuning.json").read_text())
    assert summary["trials"] == 3
    assert set(summary["settings"]) == {"learning_rate", "temperature"}
    assert not (tmp_path / "out" / "study.log").exists()


@pytest.mark.slow
def test_a_width_that_is_given_is_not_searched(flags: list[str], tmp_path: Path) -> None:
    assert main([*flags, "--trials", "1", "--max_steps", "2", "--bandwidth", "sqrt"]) == 0
    summary = json.loads((tmp_path / "out" / "tuning.json").read_text())
    assert set(summary["settings"]) == {"learning_rate", "labelled_fraction", "graph_weight"}


@pytest.mark.parametrize(
    ("more", "part"),
    [
        (["--setup", "frozen"], "--setup frozen has nothing to search"),
        (["--trials", "0"], "--trials must be above 0"),
        (["--search", "lerning_rate=1e-5:1e-3"], "unknown 'lerning_rate'"),
        (["--search", "learning_rate"], "must read NAME=LOW:HIGH"),
    ],
)
def test_mistakes_are_named(more: list[str], part: str, flags: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*flags, *more]) == 2
    assert part in capsys.readouterr().err


@pytest.mark.slow
def test_two_workers_and_one_is_killed(flags: list[str], tmp_path: Path) -> None:
    command = [sys.executable, "-m", "graphloss", *flags, "--trials", "6", "--search", "learning_rate=1e-4:1e-2:log"]
    workers = [subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) for _ in range(2)]
    while not list((tmp_path / "out" / "trials").glob("*")):
        time.sleep(0.2)
    workers[0].send_signal(signal.SIGKILL)
    workers[0].wait()
    assert workers[1].wait(timeout=300) == 0
    assert json.loads((tmp_path / "out" / "tuning.json").read_text())["trials"] == 6
    assert (tmp_path / "out" / "best" / "model").exists()
