"""From a run to its page, through the command line."""

import base64
import gzip
import json
import re
from pathlib import Path

import numpy as np
import pytest

from graphloss.cli.main import main


def unpacked(page: Path) -> dict:
    (packed,) = re.findall(r'id="data">([^<]+)<', page.read_text())
    return json.loads(gzip.decompress(base64.b64decode(packed)))


@pytest.fixture
def runs(data: Path, encoders: dict[str, Path], tmp_path: Path) -> list[Path]:
    usual = ["--data", str(data), "--encoder", str(encoders["bert"]), "--use_cpu", "--quiet", "--num_train_epochs", "2"]
    for name, more in (("gloss", []), ("ce", ["--loss", "ce", "--no_floor", "--no_record"])):
        assert main(["train", *usual, *more, "--output_dir", str(tmp_path / name)]) == 0
    assert (
        main(["train", "--data", str(data), "--system", "tfidf-svm", "--output_dir", str(tmp_path / "svm"), "--quiet"])
        == 0
    )
    return [tmp_path / name for name in ("gloss", "ce", "svm")]


def test_pages_of_one_run_and_of_several(runs: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    gloss, ce, _ = runs
    assert sorted(path.name for path in (gloss / "record").iterdir())[:2] == ["documents.npz", "rows.npy"]
    assert not (ce / "record").exists()
    for run in runs:
        assert main(["report", str(run), "--output", str(tmp_path / f"{run.name}.html"), "--quiet"]) == 0
    found = unpacked(tmp_path / "gloss.html")["run"]
    documents = found["documents"]
    assert len(documents["text"]) == 60 + 24 + 24 == len(found["map"]["after"]) / 2 == len(found["map"]["before"]) / 2
    assert {row["name"] for row in found["scores"]} == {"head", "with the graph", "frozen encoder, linear head"}
    metrics = json.loads((gloss / "metrics.json").read_text())
    confusion = np.array(found["confusion"]["head"])
    assert confusion.trace() / confusion.sum() == pytest.approx(metrics["test"]["accuracy"])
    assert len(found["batch"]["moments"]) == 3
    assert found["suspicious"]
    told = [pair for row in documents["told_by"] if row for pair in row]
    assert all(documents["split"][row] == "train" for row, _ in told)
    assert found["curves"]["eval_accuracy"]
    assert unpacked(tmp_path / "svm.html")["run"]["map"] is None
    assert unpacked(tmp_path / "ce.html")["run"]["batch"] is None

    assert main(["report", *map(str, runs), "--output", str(tmp_path / "all.html")]) == 0
    several = unpacked(tmp_path / "all.html")["several"]
    assert several["names"] == ["gloss", "ce", "svm"]
    assert [row["p_value"] is None for row in several["rows"]] == [True, False, False]
    assert "loss" in {row[0] for row in several["settings"]}

    assert main(["report", str(tmp_path), "--output", str(tmp_path / "none.html")]) == 2
    assert "holds no finished run" in capsys.readouterr().err
    assert not (tmp_path / "none.html").exists()
