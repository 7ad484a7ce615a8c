"""From run directories to tables."""

import csv
import json
from pathlib import Path

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest

from graphloss.experiments.bench import Bench
from graphloss.experiments.plan import Planned
from graphloss.experiments.tables import Tables, method_of

LABELS = ["x", "y"] * 50


def finished(bench: Bench, wrong: dict[str, int]) -> None:
    """Write what runs leave; the first test documents are wrong, so many for each loss and one more for each seed."""
    for run in bench.runs:
        path = bench.path(run)
        path.mkdir(parents=True)
        mistakes = wrong[run.settings.get("loss", run.system)] + run.settings["seed"]
        predictions = [{"x": "y", "y": "x"}[label] if row < mistakes else label for row, label in enumerate(LABELS)]
        table = {"split": ["validation"] + ["test"] * 100, "label": ["x", *LABELS], "prediction": ["x", *predictions]}
        pyarrow.parquet.write_table(pyarrow.table(table), path / "predictions.parquet")
        scores = {"accuracy": 1 - mistakes / 100, "macro_f1": 0.5, "ece": 0.1, "n": 100}
        metrics = {"validation": scores, "test": scores, "seconds": 60.0, "transductive": run.system == "textgcn"}
        (path / "metrics.json").write_text(json.dumps(metrics))
        steps = [
            {"step": step, "eval_macro_f1": score, "seconds": 2.0 * step}
            for step, score in ((5, 0.3), (10, 0.6), (15, 0.4))
        ]
        (path / "history.jsonl").write_text("".join(json.dumps(line) + "\n" for line in steps))


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    runs = [
        Planned({"data": data, "encoder": "minilm", "loss": loss, "seed": seed})
        for data in ("mr", "r8")
        for loss in ("ce", "gloss")
        for seed in (1, 2)
    ]
    runs += [Planned({"data": data, "seed": 1}, "textgcn") for data in ("mr", "r8")]
    made = Bench(tmp_path, runs)
    finished(made, {"ce": 30, "gloss": 5, "textgcn": 29})
    return made


def test_means_intervals_and_tests(bench: Bench) -> None:
    rows = {(row["data"], row["method"]): row for row in Tables(bench).rows()}
    assert len(rows) == 6
    gloss = rows["mr", "minilm gloss"]
    assert gloss["seeds"] == 2
    assert gloss["accuracy"] == pytest.approx(1 - 0.065)
    assert gloss["deviation"] == pytest.approx(np.std([0.94, 0.93], ddof=1))
    assert gloss["low"] < gloss["accuracy"] < gloss["high"]
    assert gloss["p_value"] < 0.01
    assert np.isnan(rows["mr", "minilm ce"]["p_value"])
    assert rows["mr", "textgcn"]["p_value"] > 0.2
    assert rows["mr", "textgcn"]["transductive"]
    assert (gloss["steps_to_best"], gloss["seconds_to_best"]) == (10, 20.0)


def test_over_data_sets(bench: Bench) -> None:
    found = {row["method"]: row for row in Tables(bench).over_data()}
    assert {method: row["rank"] for method, row in found.items()} == {"minilm ce": 3, "minilm gloss": 1, "textgcn": 2}
    assert found["minilm gloss"]["p_value"] == 2 / 16
    assert np.isnan(found["textgcn"]["p_value"])  # of fewer seeds


def test_files_and_another_row_to_test_against(bench: Bench, tmp_path: Path) -> None:
    tables = Tables(bench, against="textgcn")
    tables.write(tmp_path)
    text = (tmp_path / "tables.md").read_text()
    assert "against *textgcn*" in text
    assert "| mr | minilm gloss | 2 | 93.50 | 0.71 |" in text
    assert "| BertGCN | 86.00 | 98.10 |" in text
    rows = list(csv.DictReader((tmp_path / "tables.csv").read_text().splitlines()))
    assert len(rows) == 6
    assert float(rows[0]["accuracy"]) == pytest.approx(0.685)


def test_methods_are_told_apart_by_all_but_data_and_seed() -> None:
    usual = {"data": "mr", "seed": 1, "encoder": "minilm", "loss": "gloss"}
    assert method_of(Planned(usual)) == method_of(Planned(usual | {"data": "r8", "seed": 2})) == "minilm gloss"
    assert method_of(Planned(usual | {"graph_weight": 0.5})) == "minilm gloss graph_weight=0.5"
    assert method_of(Planned({"data": "mr", "seed": 1, "encoder": "minilm"}, "knn")) == "knn minilm"


def test_settings_that_all_share_are_named_once(tmp_path: Path) -> None:
    usual = {"data": "mr", "seed": 1, "encoder": "minilm", "max_length": 64}
    runs = [Planned(usual | {"loss": loss}) for loss in ("ce", "gloss")] + [
        Planned({"data": "mr", "seed": 1}, "textgcn")
    ]
    bench = Bench(tmp_path, runs)
    finished(bench, {"ce": 9, "gloss": 5, "textgcn": 9})
    assert Tables(bench).methods == ["minilm ce", "minilm gloss", "textgcn"]
    assert "Alike in all runs that read it: max_length 64." in Tables(bench).markdown()
    more = Bench(tmp_path / "more", [*runs, Planned({"data": "mr", "seed": 1, "encoder": "minilm", "loss": "ce"})])
    finished(more, {"ce": 9, "gloss": 5, "textgcn": 9})
    assert Tables(more).methods == ["minilm ce max_length=64", "minilm gloss max_length=64", "textgcn", "minilm ce"]
