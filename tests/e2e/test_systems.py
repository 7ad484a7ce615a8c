"""Whole systems, through the command line."""

import json
from pathlib import Path

import pyarrow.parquet
import pytest
import yaml

from graphloss.cli.main import main
from graphloss.systems.run_system import SYSTEMS


@pytest.mark.parametrize("system", SYSTEMS)
def test_a_system_leaves_a_run_without_a_model(
    system: str, data: Path, encoders: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    flags = ["--data", str(data), "--system", system, "--output_dir", str(run)]
    flags += ["--encoder", str(encoders["bert"]), "--pooling", "mean", "--max_length", "16", "--use_cpu"]
    flags += ["--per_device_train_batch_size", "8", "--learning_rate", "1e-3", "--patience", "0"]
    assert main(["train", *flags]) == 0
    assert f"test, {system}: accuracy" in capsys.readouterr().out
    assert {path.name for path in run.iterdir()} == {
        "config.yaml", "environment.json", "metrics.json", "predictions.parquet",
    }  # fmt: skip
    metrics = json.loads((run / "metrics.json").read_text())
    assert metrics["test"]["accuracy"] > 0.55
    assert metrics["transductive"] == (system in ("propagation", "textgcn", "bertgcn"))
    assert metrics["seconds"] > 0
    predictions = pyarrow.parquet.read_table(run / "predictions.parquet").to_pydict()
    assert len(predictions["row"]) == 48
    assert yaml.safe_load((run / "config.yaml").read_text())["system"] == system
    assert main(["train", *flags]) == 2
    assert "holds a run" in capsys.readouterr().err
    assert main(["train", "--config", str(run / "config.yaml"), "--overwrite", "--quiet"]) == 0
    again = json.loads((run / "metrics.json").read_text())
    assert again["test"]["nll"] == pytest.approx(metrics["test"]["nll"])
