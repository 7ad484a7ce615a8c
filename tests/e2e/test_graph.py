"""The graph of the training documents, through the command line."""

import csv
import json
import random
from pathlib import Path

import numpy as np
import pytest
import torch

from graphloss.cli.main import main
from graphloss.data.files import read_table
from graphloss.inference.classifier import TrainedClassifier
from graphloss.models.last_layer import last_layer
from graphloss.run.workspace import Workspace
from graphloss.training.trainer import GraphLossTrainer
from tests.conftest import FILLER, WORDS, sentences, spread_out


@pytest.fixture(scope="module")
def run(encoders: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A frozen run on three easy classes; test.csv lies beside it."""
    folder = tmp_path_factory.mktemp("frozen")
    (folder / "data").mkdir()
    for split, size, seed in (("train", 60, 1), ("validation", 24, 2), ("test", 24, 3)):
        rows = ["text,label", *map(",".join, zip(*sentences(size, seed), strict=True))]
        (folder / "data" / f"{split}.csv").write_text("\n".join(rows) + "\n")
    flags = ["--encoder", str(encoders["bert"]), "--pooling", "mean", "--max_length", "8", "--use_cpu"]
    output = ["--output_dir", str(folder / "run")]
    assert main(["train", "--data", str(folder / "data"), "--setup", "frozen", *flags, *output]) == 0
    return folder / "run"


def test_a_frozen_run_is_a_run(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    metrics = json.loads((run / "metrics.json").read_text())
    assert metrics["test"]["accuracy"] > 0.7
    assert metrics["graph"]["test"]["accuracy"] >= metrics["test"]["accuracy"]
    assert "floor" not in metrics
    capsys.readouterr()
    assert main(["evaluate", "--model", str(run), "--data", str(run.parent / "data" / "test.csv"), "--graph"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["head"]["accuracy"] == pytest.approx(metrics["test"]["accuracy"])
    assert report["graph"]["nll"] == pytest.approx(metrics["graph"]["test"]["nll"], rel=1e-4)
    assert set(report["seconds"]) == {"encoder", "graph"}


@pytest.mark.parametrize("flags", [["--setup", "frozen"], ["--max_steps", "1", "--loss", "ce"]], ids=["head", "floor"])
def test_a_head_on_the_encoder_as_it_was_expects_the_class_shares_of_validation_documents(
    encoders: dict[str, Path], data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], flags: list[str]
) -> None:
    texts, labels = sentences(300, seed=2)
    random.Random(0).shuffle(texts)  # of which nothing can be told
    labels = [label if row % 6 < 3 else labels[0] for row, label in enumerate(labels)]
    rows = map(",".join, zip(texts, labels, strict=True))
    (data / "validation.csv").write_text("\n".join(["text,label", *rows]) + "\n")
    usual = ["--encoder", str(encoders["bert"]), "--pooling", "mean", "--max_length", "8", "--use_cpu", "--index", "no"]
    assert main(["train", "--data", str(data), *usual, *flags, "--output_dir", str(tmp_path / "run")]) == 0
    metrics = json.loads((tmp_path / "run" / "metrics.json").read_text())
    found = metrics.get("floor", metrics)
    told = "the head expects the class shares of the validation documents" in capsys.readouterr().out
    assert told == ("floor" not in metrics)
    assert found["validation"]["accuracy"] > 0.6  # as often as the first class is right
    assert metrics["validation"]["accuracy"] < 0.5 or "floor" not in metrics  # what was trained keeps what it learned


def test_predictions_with_the_graph(run: Path, tmp_path: Path) -> None:
    source, output = run.parent / "data" / "test.csv", tmp_path / "out.csv"
    flags = ["--model", str(run), "--input", str(source), "--output", str(output)]
    assert main(["predict", *flags, "--graph"]) == 0
    columns = read_table(output).columns
    assert list(columns) == ["prediction", "probability", "mass", "abstained", "text", "label"]
    assert np.asarray(columns["mass"], dtype=float).min() > 0
    threshold = json.loads((run / "index" / "mixture.json").read_text())["threshold"]
    expected = [str(float(mass) < threshold) for mass in columns["mass"]]
    assert columns["abstained"] == expected
    assert main(["predict", *flags]) == 0
    assert list(read_table(output).columns) == ["prediction", "probability", "text", "label"]


def test_a_document_of_no_class_has_less_mass(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "strange.csv").write_text("text\nzzz qqq\nunknown words only here\n")
    flags = ["--model", str(run), "--data", str(run.parent / "data" / "test.csv"), "--graph"]
    assert main(["evaluate", *flags, "--out_of_scope", str(tmp_path / "strange.csv")]) == 0
    assert json.loads(capsys.readouterr().out)["out_of_scope_auroc"]["mass"] > 0.8


def test_an_explanation_adds_up(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    flags = ["explain", "--model", str(run), "--text", "the comet was on a rocket", "--json"]
    for together in ([], ["--together"]):
        assert main([*flags, "--top", "0", *together]) == 0
        (explained,) = json.loads(capsys.readouterr().out)
        shares = [each["share"] for each in explained["neighbours"]]
        assert sum(shares) == pytest.approx(1.0, abs=1e-5)
        assert shares == sorted(shares, reverse=True)
        for each in explained["neighbours"]:
            assert each["share"] == pytest.approx(each["embedding_share"] + each["word_share"], abs=1e-6)
        for name, probability in explained["graph"].items():
            of_class = sum(each["share"] for each in explained["neighbours"] if each["label"] == name)
            assert of_class == pytest.approx(probability, abs=1e-5)
    assert main([*flags[:-1], "--top", "2"]) == 0
    printed = capsys.readouterr().out
    assert "-> space" in printed
    assert "all others" in printed


def test_texts_explained_together_hear_of_each_other(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = str(run.parent / "data" / "test.csv")
    answers = []
    for together in ([], ["--together"]):
        assert main(["explain", "--model", str(run), "--input", source, "--json", "--top", "0", *together]) == 0
        answers.append(json.loads(capsys.readouterr().out))
    alone, company = ([list(each["graph"].values()) for each in found] for found in answers)
    assert not np.allclose(alone, company, atol=1e-3)
    np.testing.assert_allclose(np.sum(company, axis=1), 1.0, atol=1e-5)


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_an_audit_finds_flipped_labels(
    run: Path, encoders: dict[str, Path], tmp_path: Path, suffix: str, capsys: pytest.CaptureFixture[str]
) -> None:
    labels = [sorted(WORDS)[row % 3] for row in range(90)]
    draw = random.Random(0)
    texts = [" ".join(draw.choices(WORDS[label], k=3) + draw.choices(FILLER, k=2)) for label in labels]
    flipped = [4, 40, 70]
    given = [{"food": "space", "space": "sports", "sports": "food"}[label] if row in flipped else label
             for row, label in enumerate(labels)]  # fmt: skip
    data = tmp_path / "data"
    data.mkdir()
    for name, rows in (("train", zip(texts, given, strict=True)), ("test", [(texts[5].upper(), labels[5])])):
        (data / f"{name}.csv").write_text("\n".join(["text,label", *map(",".join, rows)]) + "\n")
    output = tmp_path / f"audit.{suffix}"
    assert main(["audit", "--data", str(data), "--output", str(output), "--model", str(run)]) == 0
    table = read_table(output).columns
    assert list(table)[:5] == ["row", "text", "label", "suggested", "score"]
    assert sorted(int(row) for row in table["row"][:3]) == flipped
    assert [table["suggested"][place] for place in range(3)] == [labels[int(row)] for row in table["row"][:3]]
    place = [int(row) for row in table["row"]].index(5)
    assert table["also_in"][place] == "test:0"
    printed = capsys.readouterr().out
    assert "90 labels judged" in printed
    assert "expected to be right" in printed


def test_an_audit_of_an_array_and_of_a_frozen_encoder(
    encoders: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    texts, labels = sentences(30, seed=7)
    data, output = tmp_path / "data.csv", tmp_path / "audit.csv"
    data.write_text("\n".join(["text,label", *map(",".join, zip(texts, labels, strict=True)), "no label,"]) + "\n")
    flags = ["audit", "--data", str(data), "--output", str(output)]
    assert main([*flags, "--encoder", str(encoders["roberta"]), "--max_length", "8"]) == 0
    assert "1 of 31 documents have no label" in capsys.readouterr().err
    array = tmp_path / "embeddings.npy"
    np.save(array, np.random.default_rng(0).normal(size=(31, 4)))
    assert main([*flags, "--embeddings", str(array)]) == 0
    with output.open(newline="") as file:
        assert len(list(csv.DictReader(file))) == 30
    np.save(array, np.full((31, 4), np.nan))
    assert main([*flags, "--embeddings", str(array)]) == 2
    assert "30 of 30 rows are not" in capsys.readouterr().err
    np.save(array, np.zeros((3, 4)))
    assert main([*flags, "--embeddings", str(array)]) == 2
    assert "each of the 31 documents" in capsys.readouterr().err


def test_long_texts_are_counted_or_read_in_windows(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "long.csv").write_text("text\n" + "the of and a in on " * 10 + "comet orbit moon star rocket\na soup\n")
    flags = ["--model", str(run), "--input", str(tmp_path / "long.csv"), "--output", str(tmp_path / "out.csv")]
    assert main(["predict", *flags]) == 0
    assert "1 of 2 documents are longer than 8 tokens" in capsys.readouterr().err
    assert main(["predict", *flags, "--stride", "2"]) == 0
    assert capsys.readouterr().err == ""
    assert main(["predict", *flags, "--stride", "6"]) == 2
    assert "--stride must lie between 0 and 5" in capsys.readouterr().err


def test_the_mistakes_of_the_graph_are_named(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    test = str(run.parent / "data" / "test.csv")
    model = ["--model", str(run)]
    (tmp_path / "bare.csv").write_text("text\nbread\n")
    (tmp_path / "other.csv").write_text("text,label\nbread,music\n")
    for arguments, part in (
        (["explain", *model], "--text TEXT or --input FILE"),
        (["explain", *model, "--text", " "], "--text is empty"),
        (["evaluate", *model, "--data", test, "--out_of_scope", test], "give --graph, too"),
        (["evaluate", *model, "--data", str(tmp_path / "bare.csv"), "--graph"], "no column 'label'"),
        (["evaluate", *model, "--data", str(tmp_path / "other.csv"), "--graph"], "'music' does not occur"),
        (["audit", "--data", str(tmp_path / "bare.csv"), "--output", "a.csv"], "no column 'label'"),
        (["audit", "--data", test, "--output", "a.csv", "--encoder", "b", *model], "give one"),
        (["audit", "--data", test, "--output", "audit.txt"], "its format is not known"),
        (["train", "--data", str(run.parent / "data"), "--coverage", "0", "--output_dir", "a"], "coverage must lie"),
    ):
        assert main(arguments) == 2
        assert part in capsys.readouterr().err


def test_an_index_that_does_not_belong_is_refused(
    encoders: dict[str, Path], data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run, flags = tmp_path / "run", ["--encoder", str(encoders["bert"]), "--max_steps", "1", "--use_cpu"]
    usual = ["train", "--data", str(data), "--output_dir", str(run), *flags, "--floor", "no", "--overwrite"]
    ask = ["explain", "--model", str(run), "--text", "a comet"]
    assert main([*usual, "--index", "no"]) == 0
    assert main(ask) == 2
    assert "keeps no index" in capsys.readouterr().err
    assert main(usual) == 0
    assert main(ask) == 0
    header = run / "index" / "index.json"
    content = json.loads(header.read_text())
    for change, part in (
        ({"encoder": "0"}, "another encoder"),
        ({"format": 0}, "of format 0"),
        ({"bytes": 10**15}, "--index_size"),
    ):
        header.write_text(json.dumps(content | change))
        capsys.readouterr()
        assert main(ask) == 2
        assert part in capsys.readouterr().err


@pytest.mark.parametrize("head", ["stock", "linear"])
def test_fine_tuning_starts_from_the_frozen_head(
    head: str, encoders: dict[str, Path], data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = ["--encoder", str(spread_out(encoders["bert"], tmp_path / "encoder")), "--head", head, "--use_cpu"]
    flags += ["--max_steps", "1"]
    flags += ["--pooling", "mean", "--learning_rate", "1e-9", "--index", "no", "--head_end", "trained"]
    scores = {}
    for start in ("random", "frozen"):
        output = ["--output_dir", str(tmp_path / start), "--head_start", start]
        assert main(["train", "--data", str(data), *flags, *output]) == 0
        scores[start] = json.loads((tmp_path / start / "metrics.json").read_text())
        split, floor = scores[start]["validation"], scores[start]["floor"]["validation"]
        told = f"on {split['n']} validation documents training ended below the encoder as it was"
        below = told in capsys.readouterr().out.replace("\n", " ")
        assert below == (split["accuracy"] < floor["accuracy"]), start
        assert below or start == "frozen"
    assert scores["random"]["floor"] == scores["frozen"]["floor"]
    assert scores["frozen"]["test"]["accuracy"] > scores["random"]["test"]["accuracy"] + 0.05
    floor = scores["frozen"]["floor"]["test"]["accuracy"]
    assert scores["frozen"]["test"]["accuracy"] == pytest.approx(floor, abs=0.05)


@pytest.mark.parametrize("head", ["stock", "linear"])
def test_a_head_that_a_loss_on_embeddings_left_behind_is_fitted_to_them(
    head: str, encoders: dict[str, Path], data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Cross-entropy alone leaves none behind. Where it is fitted the weights are the last, and a linear one reads
    embeddings of unit length."""
    train, keeps_last = GraphLossTrainer.train, []
    monkeypatch.setattr(
        GraphLossTrainer, "train", lambda self, **given: keeps_last.append(self.keeps_last) or train(self, **given)
    )
    flags = ["--encoder", str(spread_out(encoders["bert"], tmp_path / "encoder")), "--head", head, "--use_cpu"]
    flags += ["--max_steps", "2", "--learning_rate", "1e-5", "--head_start", "random", "--floor", "no", "--index", "no"]
    weights, unit_length = {}, []
    for name, more in {
        "auto": [],
        "fitted": ["--head_end", "fitted"],
        "trained": ["--head_end", "trained"],
        "weighted": ["--class_weights", "balanced"],
        "ce": ["--loss", "ce"],
        "ce, trained": ["--loss", "ce", "--head_end", "trained"],
    }.items():
        output = tmp_path / name
        assert main(["train", "--data", str(data), *flags, *more, "--output_dir", str(output)]) == 0
        model = TrainedClassifier.load(output).model
        unit_length.append(getattr(model, "unit_length", False))
        weight = last_layer(model)[1].weight.detach()
        weights[name] = weight / weight.norm()  # calibration divides it
    assert keeps_last == [True, True, False, False, False, False]
    assert unit_length == (keeps_last if head == "linear" else [False] * 6)
    assert torch.equal(weights["auto"], weights["fitted"])
    assert (weights["auto"] * weights["trained"]).sum() < 0.9
    assert (weights["weighted"] * weights["trained"]).sum() > 0.99
    assert torch.equal(weights["ce"], weights["ce, trained"])


def test_the_untouched_encoder_is_asked_once(
    encoders: dict[str, Path], data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For the start of the stock head and for the floor; then the trained one for the index."""
    asked = []
    ask = Workspace.training_answer
    monkeypatch.setattr(Workspace, "training_answer", lambda space, model: asked.append(model) or ask(space, model))
    flags = ["--encoder", str(encoders["bert"]), "--use_cpu", "--max_steps", "1", "--output_dir", str(tmp_path / "run")]
    assert main(["train", "--data", str(data), *flags]) == 0
    assert len(asked) == 2
    assert "floor" in json.loads((tmp_path / "run" / "metrics.json").read_text())


def test_a_frozen_run_without_unlabelled_documents_reads_each_split_once(
    encoders: dict[str, Path], data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []
    answer = Workspace.answer
    monkeypatch.setattr(
        Workspace, "answer", lambda space, model, split: asked.append(split) or answer(space, model, split)
    )
    flags = [
        "--encoder",
        str(encoders["bert"]),
        "--use_cpu",
        "--setup",
        "frozen",
        "--output_dir",
        str(tmp_path / "run"),
    ]
    assert main(["train", "--data", str(data), *flags]) == 0
    assert sorted(asked) == ["test", "validation"]


def test_unlabelled_documents_join_training_and_leaks_are_named(
    encoders: dict[str, Path], data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    texts, _ = sentences(30, seed=11)
    leaked = (data / "test.csv").read_text().splitlines()[1].split(",")[0].upper()
    (tmp_path / "more.csv").write_text(
        "\n".join(["text,label", *(f"{text},food" for text in texts), f"{leaked},"]) + "\n"
    )
    flags = [
        "--encoder",
        str(encoders["bert"]),
        "--use_cpu",
        "--max_steps",
        "4",
        "--logging_steps",
        "1",
        "--floor",
        "no",
    ]
    usual = ["train", "--data", str(data), *flags, "--per_device_train_batch_size", "16", "--unlabelled_ramp_up", "0.5"]
    source = ["--unlabelled", str(tmp_path / "more.csv"), "--output_dir", str(tmp_path / "run")]
    assert main([*usual, *source, "--strict"]) == 2
    assert "1 of 31 documents also stand in validation or test (rows 31)" in capsys.readouterr().err
    assert main([*usual, *source, "--unlabelled_share", "0.5"]) == 0
    assert "are left out (rows 31)" in capsys.readouterr().out
    steps = [json.loads(line) for line in (tmp_path / "run" / "history.jsonl").read_text().splitlines()]
    assert [step["unlabelled"] for step in steps if "unlabelled" in step] == [0, 4, 8, 8]
    assert json.loads((tmp_path / "run" / "index" / "index.json").read_text())["documents"] == 90
    assert main([*usual, "--unlabelled_share", "1", "--output_dir", str(tmp_path / "other")]) == 2
    assert "unlabelled_share must lie in [0, 1)" in capsys.readouterr().err


def test_documents_beyond_so_many_labels_a_class_join_the_index(
    encoders: dict[str, Path], data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = ["--encoder", str(encoders["bert"]), "--use_cpu", "--max_steps", "1", "--floor", "no", "--record", "no"]
    usual = ["train", "--data", str(data), *flags, "--output_dir", str(tmp_path / "run"), "--rest_unlabelled"]
    assert main(usual) == 2
    assert "rest_unlabelled needs labels_per_class" in capsys.readouterr().err
    assert main([*usual, "--labels_per_class", "5"]) == 0
    index = json.loads((tmp_path / "run" / "index" / "index.json").read_text())
    assert index["documents"] == 60
    assert json.loads((tmp_path / "run" / "metrics.json").read_text())["smallest_class"] == 5


@pytest.mark.parametrize("setup", ["integrated", "frozen"])
def test_documents_without_a_label_teach_the_last_layer_where_the_graph_is_worth_it(
    setup: str, encoders: dict[str, Path], data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Words tell the classes apart that an untrained encoder hardly does."""
    flags = ["--encoder", str(encoders["bert"]), "--use_cpu", "--max_steps", "1", "--floor", "no", "--record", "no"]
    usual = ["train", "--data", str(data), *flags, "--labels_per_class", "5", "--setup", setup]
    right, taught = {}, {}
    some = ["--rest_unlabelled", "--index_size", "40"]
    for name, more in {"alone": [], "taught": ["--rest_unlabelled"], "taught by some": some}.items():
        assert main([*usual, *more, "--output_dir", str(tmp_path / name)]) == 0
        taught[name] = "documents without a label taught the last layer" in capsys.readouterr().out
        right[name] = json.loads((tmp_path / name / "metrics.json").read_text())["validation"]["accuracy"]
    assert taught == {"alone": False, "taught": True, "taught by some": True}
    assert min(right["taught"], right["taught by some"]) > right["alone"]
