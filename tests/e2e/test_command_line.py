"""From files to a run directory and on to predictions, through the command line."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow.parquet
import pytest
import yaml
from transformers import TrainerCallback, pipeline

from graphloss.cli.main import VERBS, main
from graphloss.data.files import read_documents
from graphloss.inference.classifier import TrainedClassifier
from graphloss.run import encoder_run

Train = Callable[..., Path]
FILES = {"config.yaml", "environment.json", "history.jsonl", "index", "metrics.json", "model", "predictions.parquet"}
FILES |= {"record"}


@pytest.fixture
def train(data: Path, encoders: dict[str, Path], tmp_path: Path) -> Train:
    """Runs `graphloss train` on three easy classes and gives the run directory."""

    def run(*flags: str, name: str = "run", encoder: str = "bert", status: int = 0) -> Path:
        given = [] if "--train" in flags else ["--data", str(data)]
        usual = ["--encoder", str(encoders[encoder]), "--output_dir", str(tmp_path / name), "--use_cpu"]
        quick = [
            "--per_device_train_batch_size",
            "16",
            "--learning_rate",
            "1e-2",
            "--num_train_epochs",
            "8",
            "--pooling",
            "mean",
            "--floor",
            "no",
        ]
        assert main(["train", *given, *usual, *quick, *flags]) == status
        return tmp_path / name

    return run


def lines(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_a_run_learns_and_leaves_what_is_documented(train: Train, capsys: pytest.CaptureFixture[str]) -> None:
    run = train("--logging_steps", "1", "--patience", "0", "--learning_rate", "1e-3")
    assert {path.name for path in run.iterdir()} == FILES
    metrics = json.loads((run / "metrics.json").read_text())
    assert metrics["test"]["accuracy"] > 0.8
    names = {"accuracy", "macro_f1", "micro_f1", "nll", "ece", "n", "macro_silhouette", "by_class"}
    assert metrics["validation"].keys() == metrics["test"].keys() == names
    assert set(metrics["test"]["by_class"]) == {"food", "space", "sports"}
    assert sum(each["n"] for each in metrics["test"]["by_class"].values()) == metrics["test"]["n"]
    assert 0.01 < metrics["temperature"] < 1.001  # right as often as it is sure, or more

    history = lines(run / "history.jsonl")
    steps = [entry for entry in history if "loss" in entry]
    assert [entry["step"] for entry in steps] == list(range(1, 33))
    assert {"graph_loss", "ce_loss", "bandwidth", "evaluated", "orphans", "learning_rate"} <= steps[0].keys()
    assert sum("eval_macro_f1" in entry for entry in history) == 8

    predictions = pyarrow.parquet.read_table(run / "predictions.parquet").to_pydict()
    rows = [row for row, split in enumerate(predictions["split"]) if split == "test"]
    right = [predictions["label"][row] == predictions["prediction"][row] for row in rows]
    assert np.mean(right) == pytest.approx(metrics["test"]["accuracy"])

    environment = json.loads((run / "environment.json").read_text())
    assert environment["versions"].keys() >= {"python", "torch", "transformers", "graphloss"}
    assert environment["seed"] == 42
    last_change = ["git", "log", "-1", "--format=%H", "--", "src/graphloss"]
    commit = subprocess.run(last_change, cwd=Path(__file__).parents[2], capture_output=True, text=True, check=False)
    assert (environment["commit"] or "").split(" ")[0] == commit.stdout.strip()

    saved = {path.relative_to(run / "model").as_posix() for path in (run / "model").rglob("*")}
    assert {"model.safetensors", "config.json", "tokenizer.json", "modules.json", "1_Pooling/config.json"} <= saved
    assert not [name for name in saved if name.endswith((".bin", ".pt", ".pkl"))]

    printed = capsys.readouterr().out
    assert "step 1/32  loss " in printed
    assert "graph loss" in printed
    assert "left" in printed
    assert "validation accuracy" in printed
    assert all(str(run / name) in printed for name in FILES)


def test_the_saved_config_repeats_the_run(train: Train, tmp_path: Path) -> None:
    first = train("--graph_weight", "0.5", "--masking", "random", "--seed", "7")
    config = yaml.safe_load((first / "config.yaml").read_text())
    assert (config["graph_weight"], config["masking"], config["seed"], config["loss"]) == (0.5, "random", 7, "gloss")
    again = tmp_path / "again"
    assert main(["train", "--config", str(first / "config.yaml"), "--output_dir", str(again), "--quiet"]) == 0
    metrics = [json.loads((run / "metrics.json").read_text()) for run in (first, again)]
    assert all(each.pop("seconds") > 0 for each in metrics)
    assert all(each.pop("peak_memory") > 1e8 for each in metrics)  # Python and torch alone take more
    assert metrics[0] == metrics[1]
    losses = [[entry.get("loss") for entry in lines(run / "history.jsonl")] for run in (first, again)]
    assert losses[0] == losses[1]


def test_the_weight_by_skill_is_told(train: Train, capsys: pytest.CaptureFixture[str]) -> None:
    run = train("--graph_weighting", "skill", "--graph_weight", "0.7", "--logging_steps", "1")
    found = json.loads((run / "metrics.json").read_text())["graph_loss_weight"]
    logged = [entry["graph_weight"] for entry in lines(run / "history.jsonl") if "graph_weight" in entry]
    assert found == {"mean": pytest.approx(sum(logged) / len(logged)), "last": logged[-1]}
    assert 0.0 == logged[0] < found["mean"] < 0.7
    assert "the graph loss had weight" in capsys.readouterr().out


def test_flags_go_before_the_yaml_file(train: Train, tmp_path: Path) -> None:
    (tmp_path / "run.yaml").write_text("loss: ce\nmax_steps: 2\nhead: linear\nwarmup_steps: 0\nsave_strategy: no\n")
    run = train("--config", str(tmp_path / "run.yaml"), "--loss", "gloss")
    config = yaml.safe_load((run / "config.yaml").read_text())
    assert (config["loss"], config["max_steps"], config["head"]) == ("gloss", 2, "linear")
    assert config["save_strategy"] == "no"


@pytest.mark.parametrize(
    ("encoder", "head"), [("bert", "stock"), ("bert", "linear"), ("distilbert", "stock"), ("llama", "stock")]
)
def test_predictions_scores_and_embeddings_of_the_saved_model(
    encoder: str, head: str, train: Train, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = train("--head", head, "--quiet", encoder=encoder)
    assert capsys.readouterr().out == ""
    if encoder == "bert":  # pooled by the mean, which its stock head reads by a layer more
        assert json.loads((run / "model" / "config.json").read_text())["num_hidden_layers"] == 2 + (head == "stock")

    output = tmp_path / "predicted.csv"
    assert main(["predict", "--model", str(run), "--input", str(data / "test.csv"), "--output", str(output)]) == 0
    predicted = read_documents(output)
    assert output.read_text().splitlines()[0] == "prediction,probability,text,label"
    assert predicted.texts == read_documents(data / "test.csv").texts

    assert main(["evaluate", "--model", str(run), "--data", str(data / "test.csv")]) == 0
    scores = json.loads(capsys.readouterr().out)
    at_training = json.loads((run / "metrics.json").read_text())["test"]
    assert scores["accuracy"] == at_training["accuracy"]
    assert scores["nll"] == pytest.approx(at_training["nll"], rel=1e-4)

    names = [line.split(",")[0] for line in output.read_text().splitlines()[1:]]
    if head == "stock":
        answers = pipeline("text-classification", model=str(run / "model"), device="cpu")(predicted.texts)
        assert [answer["label"] for answer in answers] == names

    from sentence_transformers import SentenceTransformer

    encoded = SentenceTransformer(str(run / "model"), device="cpu").encode(predicted.texts)
    ours = TrainedClassifier.load(run).embed(predicted)
    np.testing.assert_allclose(encoded, ours, rtol=1e-5, atol=1e-5)


def test_the_model_is_served_without_graphloss(train: Train) -> None:
    run = train("--max_steps", "1", "--quiet")
    program = (
        "import sys; sys.modules['graphloss'] = None\n"
        "from transformers import pipeline\n"
        f"print(pipeline('text-classification', model={str(run / 'model')!r}, device='cpu')('the goal')[0]['label'])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() in {"food", "space", "sports"}


class StopAt(TrainerCallback):
    """A person at the keyboard."""

    step = 8

    def on_step_end(self, args: object, state: object, control: object, **_: object) -> None:
        if state.global_step == self.step:
            raise KeyboardInterrupt


def test_an_interrupted_run_goes_on_from_its_checkpoint(
    train: Train, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = ["--logging_steps", "1", "--head", "linear", "--head_start", "frozen"]
    whole = train(*flags, "--quiet", name="whole", encoder="llama")  # no dropout there
    report = encoder_run.Report
    monkeypatch.setattr(encoder_run, "Report", lambda console: _with_stop(report(console)))
    run = train(*flags, "--quiet", encoder="llama", status=3)
    assert "interrupted; the last checkpoint is" in capsys.readouterr().err
    monkeypatch.setattr(encoder_run, "Report", report)
    train("--quiet", encoder="llama", status=2)
    assert "holds a run" in capsys.readouterr().err
    train("--resume", *flags, encoder="llama")
    assert "fitting a linear head" not in capsys.readouterr().out
    assert {path.name for path in run.iterdir()} == FILES
    losses = [
        [(entry["step"], entry["loss"]) for entry in lines(path / "history.jsonl") if "loss" in entry]
        for path in (whole, run)
    ]
    assert losses[0] == losses[1]
    seconds = [entry["seconds"] for entry in lines(run / "history.jsonl")]
    assert seconds == sorted(seconds)
    assert json.loads((run / "metrics.json").read_text())["seconds"] > seconds[-1]
    train("--resume", encoder="llama")
    assert "is a finished run" in capsys.readouterr().out


def _with_stop(report: TrainerCallback) -> TrainerCallback:
    report.on_step_end = StopAt().on_step_end
    return report


def test_resume_without_a_checkpoint_starts_over_and_overwrite_replaces(
    train: Train, capsys: pytest.CaptureFixture[str]
) -> None:
    run = train("--resume", "--max_steps", "2")
    assert "holds no checkpoint to go on from; starting over" in capsys.readouterr().out
    (run / "mine.txt").write_text("kept")
    train("--overwrite", "--max_steps", "1", "--quiet")
    assert len(lines(run / "history.jsonl")) < 4
    assert (run / "mine.txt").read_text() == "kept"


def test_divergence_is_told_with_step_and_remedy(train: Train, capsys: pytest.CaptureFixture[str]) -> None:
    train("--quiet", "--learning_rate", "1e30", "--max_grad_norm", "0", status=2)
    message = capsys.readouterr().err
    assert message.startswith("graphloss train: step ")
    assert "not finite" in message or "the loss is" in message
    assert "lower --learning_rate" in message


def test_unlabelled_documents_single_classes_and_text_pairs(
    train: Train, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = (data / "train.csv").read_text().splitlines()[1:]
    table = ["text,text_pair,label", *(row.replace(",", ",on the,") for row in rows)]
    table += ["the moon,a star,", "bread and soup,a spice,", "very strange,of a,oddity"]
    (data / "pairs.csv").write_text("\n".join(table) + "\n")
    flags = ["--allow_unlabelled", "--unlabelled_share", "0.25", "--max_steps", "3", "--logging_steps", "1"]
    run = train("--train", str(data / "pairs.csv"), *flags)
    assert "one training document only for 'oddity'" in capsys.readouterr().out
    steps = [entry for entry in lines(run / "history.jsonl") if "loss" in entry]
    assert sum(entry["unlabelled"] for entry in steps) > 0
    names = TrainedClassifier.load(run).names
    assert names == ["food", "oddity", "space", "sports"]
    costs = {"seconds", "peak_memory"}
    metrics = json.loads((run / "metrics.json").read_text())
    assert metrics.keys() == {"validation", "graph", "temperature", "smallest_class"} | costs
    assert metrics["smallest_class"] == 1


def test_help_answers_at_once_and_imports_no_torch() -> None:
    program = (
        "import sys; from graphloss.cli.main import main; status = main(['--help'])\n"
        "assert status == 0; assert not {'torch', 'transformers', 'numpy'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert all(verb in done.stdout for verb in VERBS)


@pytest.mark.parametrize("verb", VERBS)
def test_each_verb_has_help(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main([verb, "--help"])
    assert stopped.value.code == 0
    place = {"bench": "PLAN.yaml ", "report": "RUN "}.get(verb, "")
    assert capsys.readouterr().out.startswith(f"usage: graphloss {verb} {place}[options]")


def test_train_shows_common_options_and_help_all_every_one(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["train", "--help"])
    common = capsys.readouterr().out
    assert main(["train", "--help_all"]) == 0
    everything = capsys.readouterr().out
    for flag in ("--graph_weight", "--encoder", "--learning_rate", "--overwrite"):
        assert flag in common
        assert flag in everything
    assert "--deepspeed" in everything
    assert "--deepspeed" not in common
    assert "None" not in common


def test_a_terminal_sees_a_bar_and_a_table(
    train: Train, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TTY_COMPATIBLE", "1")
    train("--logging_steps", "1", "--max_steps", "3")
    printed = capsys.readouterr().out
    assert "━" in printed
    assert "cross-entropy" in printed
    assert "best" in printed


@pytest.mark.slow
def test_trackers_get_the_graph_too(train: Train) -> None:
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    run = train("--logging_steps", "1", "--max_steps", "3", "--report_to", "tensorboard")
    (events,) = run.rglob("events.out.tfevents.*")
    found = accumulator.EventAccumulator(str(events.parent)).Reload()
    logged = [entry for entry in lines(run / "history.jsonl") if "loss" in entry]
    for name in ("loss", "graph_loss", "effective_neighbours"):
        values = [event.value for event in found.Scalars(f"train/{name}")]
        assert values == pytest.approx([entry[name] for entry in logged])
    assert found.Scalars("eval/macro_f1")
