"""A plan of runs, through the command line."""

import json
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
import yaml

from graphloss.cli.main import main
from graphloss.experiments.bench import Bench
from graphloss.experiments.lease import lease
from graphloss.experiments.plan import read_plan


@pytest.fixture
def plan(data: Path, encoders: dict[str, Path], tmp_path: Path) -> Path:
    usual = f"data: {data}, seed: 1"
    fast = "use_cpu: true, num_train_epochs: 1, max_length: 16, floor: false"
    (tmp_path / "plan.yaml").write_text(
        "grids:\n"
        f"  - {{{usual}, encoder: {encoders['bert']}, loss: [gloss, ce], {fast}}}\n"
        f"  - {{{usual}, encoder: {tmp_path / 'missing'}, {fast}}}\n"
        f"  - {{{usual}, system: tfidf-svm}}\n"
    )
    return tmp_path / "plan.yaml"


def test_failures_do_not_stop_the_others_and_what_is_done_stays(
    plan: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = ["bench", str(plan), "--output_dir", str(tmp_path / "out")]
    assert main([*flags, "--dry_run"]) == 0
    assert "4 runs: at most 0.0 h here, and 4 of unknown cost" in capsys.readouterr().out
    assert not (tmp_path / "out").exists()
    assert main(flags) == 2
    assert "1 failed, 3 done" in _sorted_counts(capsys.readouterr().out)
    runs = {path.name: path for path in (tmp_path / "out" / "runs").iterdir()}
    assert len(runs) == 4
    written = {name: (path / "metrics.json").stat().st_mtime_ns for name, path in runs.items() if "missing" not in name}
    (failed,) = (path for name, path in runs.items() if "missing" in name)
    assert "Traceback" in json.loads((failed / "failed.json").read_text())["traceback"]
    assert main([*flags, "--status"]) == 0
    assert "failed: " in capsys.readouterr().out
    assert main(flags) == 2
    assert written == {name: (runs[name] / "metrics.json").stat().st_mtime_ns for name in written}


def test_a_plan_may_grow_and_not_shrink(plan: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = plan.read_text().splitlines()
    small, other = text[-1], text[-1].replace("tfidf-svm", "tfidf-logistic")
    flags = ["bench", str(plan), "--output_dir", str(tmp_path / "out")]
    for grids, status in (([small], 0), ([other, small], 0), ([small], 2)):
        plan.write_text("\n".join([text[0], *grids]))
        assert main(flags) == status
    assert "out holds another bench (the plan lacks data-tfidf-logistic-1" in capsys.readouterr().err
    assert len(list((tmp_path / "out" / "runs").iterdir())) == 2


def test_a_run_that_somebody_looked_at_is_not_passed_over(plan: Path, tmp_path: Path) -> None:
    """Whoever asks for its state holds a run for a moment."""
    text = plan.read_text().splitlines()
    plan.write_text("\n".join([text[0], text[-1]]))
    bench, said = Bench(tmp_path / "out", read_plan(plan)), []
    (run,) = bench.runs
    with lease(bench._lease(run)):
        worker = threading.Thread(target=bench.carry_out, args=(said.append,))
        worker.start()
        time.sleep(0.5)
        assert bench.state(run) == "running"
        assert said == []
    worker.join()
    assert bench.state(run) == "done"
    assert len(said) == 1


def test_searched_settings_and_what_cannot_be_had(
    data: Path, encoders: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    usual = f"data: {data}, seed: [1, 2], use_cpu: true, num_train_epochs: 1, max_length: 16, floor: false"
    (tmp_path / "plan.yaml").write_text(
        "grids:\n"
        f"  - {{{usual}, encoder: {encoders['bert']}, loss: gloss, trials: 2, search: {{graph_weight: '0.1:0.5'}}, "
        "search_with: {max_documents: 18}}\n"
        f"  - {{{usual}, encoder: roberta-large, loss: ce}}\n"
    )
    output = tmp_path / "out"
    flags = ["bench", str(tmp_path / "plan.yaml"), "--output_dir", str(output)]
    assert main([*flags, "--dry_run"]) == 0
    assert "with 2 trials" in capsys.readouterr().out
    assert main(flags) == 0
    assert "2 done, 2 not run" in _sorted_counts(capsys.readouterr().out)
    assert len(list(output.glob("studies/*/trials/*"))) == 2  # once, for both seeds
    for run in output.glob("runs/*gloss*"):
        found = json.loads((run / "tuning.json").read_text())
        assert yaml.safe_load((run / "config.yaml").read_text())["graph_weight"] == found["settings"]["graph_weight"]
        assert found["seconds"] > 0.0
        assert yaml.safe_load((run / "config.yaml").read_text())["max_documents"] == 0
    (trial, *_) = output.glob("studies/*/trials/*/config.yaml")
    assert yaml.safe_load(trial.read_text())["max_documents"] == 18
    assert not [*trial.parent.glob("index*"), *trial.parent.glob("record*")]  # nobody would read them
    assert len(list(output.glob("runs/*gloss*/index"))) == 2
    assert not any("test" in json.loads(file.read_text()) for file in output.glob("studies/*/trials/*/metrics.json"))
    (run, *_) = output.glob("runs/*gloss*")
    (run / "metrics.json").unlink()  # as if it had been killed before its end, without a checkpoint
    (output / "outcomes" / f"{run.name}.json").unlink()
    assert main(flags) == 0
    assert (run / "metrics.json").exists()
    assert json.loads((run / "tuning.json").read_text()) == found
    tables = (output / "tables.md").read_text()
    assert "not run: weights" in tables
    assert main([*flags, "--status"]) == 0
    assert "not run: weights" in capsys.readouterr().out


def test_it_goes_on_elsewhere_from_outcomes_alone(
    data: Path, encoders: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plan, first, other = tmp_path / "plan.yaml", tmp_path / "first", tmp_path / "other"

    def carry_out(folder: Path, seeds: str) -> None:
        plan.write_text(
            f"grids:\n  - {{data: {data}, seed: {seeds}, use_cpu: true, num_train_epochs: 1, max_length: 16, "
            f"floor: false, encoder: {encoders['bert']}, loss: ce, trials: 1, search: {{weight_decay: '0.1:0.5'}}}}\n"
        )
        assert main(["bench", str(plan), "--output_dir", str(folder)]) == 0

    carry_out(first, "1")
    shutil.copytree(first / "outcomes", other / "outcomes")
    shutil.copy(first / "plan.json", other)
    carry_out(other, "1")
    assert list((other / "runs").iterdir()) == []
    assert (other / "tables.csv").read_text() == (first / "tables.csv").read_text()
    carry_out(other, "[1, 2]")
    assert not (other / "studies").exists()  # what was searched for is known
    (new,) = (other / "runs").iterdir()
    (old,) = (first / "runs").iterdir()
    assert json.loads((new / "tuning.json").read_text()) == json.loads((old / "tuning.json").read_text())
    assert main(["bench", str(plan), "--output_dir", str(other), "--status"]) == 0
    assert "2 done" in capsys.readouterr().out
    (journal,) = first.glob("studies/*/study.log")
    only_searched = tmp_path / "searched" / "studies" / journal.parent.name
    only_searched.mkdir(parents=True)
    shutil.copy(journal, only_searched)
    carry_out(tmp_path / "searched", "[1, 2]")
    assert list(only_searched.glob("trials/*")) == []
    (found, _) = tmp_path.glob("searched/runs/*/tuning.json")
    assert json.loads(found.read_text())["settings"] == json.loads((old / "tuning.json").read_text())["settings"]


@pytest.mark.slow
def test_a_killed_bench_goes_on(plan: Path, tmp_path: Path) -> None:
    output = tmp_path / "out"
    command = [sys.executable, "-m", "graphloss", "bench", str(plan), "--output_dir", str(output)]
    for _ in range(3):
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        time.sleep(12.0)
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert subprocess.run(command, check=False).returncode == 2  # the encoder that is missing
    done = sorted(path.parent.name.split("-")[1] for path in output.glob("runs/*/metrics.json"))
    assert len(done) == 3


def _sorted_counts(printed: str) -> str:
    return ", ".join(sorted(printed.splitlines()[-1].split(", ")))
