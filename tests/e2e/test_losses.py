"""Every loss, in both set-ups, through the command line."""

import json
from pathlib import Path

import pytest
import yaml

from graphloss.cli.main import main


def lines(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.fixture
def usual(data: Path, encoders: dict[str, Path], tmp_path: Path) -> list[str]:
    flags = "--use_cpu --max_steps 6 --per_device_train_batch_size 20 --learning_rate 1e-3 --logging_steps 1"
    others = ["--floor", "no", "--pooling", "mean"]
    return [
        f"--data={data}",
        f"--encoder={encoders['bert']}",
        f"--output_dir={tmp_path / 'run'}",
        *flags.split(),
        *others,
    ]


@pytest.mark.parametrize("loss", ["scl", "triplet", "cosine"])
def test_integrated_with_cross_entropy(loss: str, usual: list[str], tmp_path: Path) -> None:
    assert main(["train", *usual, "--loss", loss, "--metric_weight", "0.25", "--quiet"]) == 0
    steps = [entry for entry in lines(tmp_path / "run" / "history.jsonl") if "metric_loss" in entry]
    assert len(steps) == 6
    for step in steps:
        assert step["loss"] == pytest.approx(0.25 * step["metric_loss"] + 0.75 * step["ce_loss"], rel=1e-3)
        assert "graph_loss" not in step
    assert json.loads((tmp_path / "run" / "metrics.json").read_text())["graph"]["test"]["n"] == 24


@pytest.mark.parametrize(("loss", "probe"), [("gloss", "fitted"), ("triplet", "fitted"), ("scl", "paper")])
def test_standalone_stops_on_silhouettes_and_fits_a_head(
    loss: str, probe: str, usual: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["train", *usual, "--loss", loss, "--setup", "standalone", "--probe", probe]) == 0
    printed = capsys.readouterr().out
    assert "validation macro-silhouette" in printed
    assert "fitting the last layer to the encoder as it is now" in printed
    run = tmp_path / "run"
    history = lines(run / "history.jsonl")
    part = "graph_loss" if loss == "gloss" else "metric_loss"
    assert all(entry["loss"] == pytest.approx(entry[part], rel=1e-3) for entry in history if "loss" in entry)
    assert not any("eval_accuracy" in entry or "ce_loss" in entry for entry in history)
    saved = yaml.safe_load((run / "config.yaml").read_text())
    assert (saved["head"], saved["metric_for_best_model"]) == ("linear", "macro_silhouette")
    chance = 1 / 3
    if probe == "fitted":
        assert json.loads((run / "metrics.json").read_text())["test"]["accuracy"] > chance + 0.2
    assert main(["train", *usual, "--config", str(run / "config.yaml"), "--overwrite", "--quiet"]) == 0


def test_standalone_wants_a_loss_on_embeddings_and_pairs_of_a_class(
    usual: list[str], data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["train", *usual, "--loss", "ce", "--setup", "standalone"]) == 2
    assert "--setup standalone needs a loss on embeddings" in capsys.readouterr().err
    (data / "validation.csv").write_text("text,label\nthe goal,sports\nthe soup,food\n")
    assert main(["train", *usual, "--setup", "standalone"]) == 2
    assert "macro-silhouette needs validation documents of two classes" in capsys.readouterr().err
