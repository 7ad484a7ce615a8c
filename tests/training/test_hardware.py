"""What the machine decides, and what is said where it lacks what was asked for."""

import gc
import json
import weakref
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from torch import nn
from torch._dynamo.testing import CompileCounterWithBackend

from graphloss import TrainingConfig
from graphloss.cli.main import main
from graphloss.errors import InputError
from graphloss.models.parts import Budget
from graphloss.training import hardware
from graphloss.training.failures import OutOfMemory
from graphloss.training.hardware import bf16_speedup, fitting_micro_batch, saved_bytes, settle_precision
from tests.training.test_trainer import SMALL, first_batch, make

CPU = torch.device("cpu")


@pytest.mark.parametrize(("speedup", "expected"), [(2.0, "bf16"), (1.1, "float32"), (0.0, "float32")])
def test_auto_takes_bf16_where_it_is_faster(speedup: float, expected: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hardware, "bf16_speedup", lambda device: speedup)
    assert settle_precision("auto", CPU, pytest.fail) == expected


def test_the_measurement_is_taken_once() -> None:
    assert bf16_speedup(CPU) > 0
    assert bf16_speedup(CPU) == bf16_speedup(CPU)


def test_a_precision_the_device_lacks_falls_back_with_one_line() -> None:
    notes: list[str] = []
    assert settle_precision("fp16", CPU, notes.append) == "float32"
    assert settle_precision("bf16", torch.device("meta"), notes.append) == "float32"
    assert [len(note.splitlines()) for note in notes] == [1, 1]
    assert "fp16 needs a GPU" in notes[0]
    assert "no bf16" in notes[1]


@pytest.mark.parametrize("flags", [{"bf16": True, "fp16": True}, {"bf16": True, "precision": "float32"}])
def test_contradicting_precisions_are_refused(flags: dict[str, Any]) -> None:
    with pytest.raises(InputError, match="contradict"):
        TrainingConfig(output_dir="unused", use_cpu=True, **flags)


def test_the_flags_of_transformers_mean_the_precision() -> None:
    args = TrainingConfig(output_dir="unused", use_cpu=True, bf16=True)
    args.settle_precision(pytest.fail)
    assert (args.precision, args.bf16, args.mixed_precision) == ("bf16", True, "bf16")


@pytest.mark.parametrize("given", ["0", "-1", "many", "1.5"])
def test_a_micro_batch_is_a_number_or_auto(given: str) -> None:
    with pytest.raises(InputError, match="micro_batch_size"):
        TrainingConfig(output_dir="unused", use_cpu=True, micro_batch_size=given)


def test_saved_bytes_are_those_of_the_activations() -> None:
    layer = nn.Linear(64, 32)
    points = torch.randn(10, 64)
    assert saved_bytes(lambda: layer(points), layer) == points.nbytes
    assert saved_bytes(lambda: layer(points).relu(), layer) == points.nbytes + 10 * 32 * 4


@pytest.mark.parametrize(("free", "expected"), [(2**40, 100), (20 * 2**20, 8), (1, 1)])
def test_the_micro_batch_is_what_fits(free: int, expected: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hardware, "free_memory", lambda device: free)
    points = torch.randn(2**18)  # a MiB that the pass keeps
    weight = nn.Parameter(torch.ones(1))
    assert fitting_micro_batch(lambda: weight * points, nn.ParameterList([weight]), CPU, 100) == expected


def test_decisions_are_written_and_kept_on_resume(
    data: Path, encoders: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = tmp_path / "run"
    usual = f"--data {data} --encoder {encoders['bert']} --output_dir {run} --use_cpu --quiet --max_steps 4".split()
    usual += ["--per_device_train_batch_size", "16", "--save_strategy", "steps", "--save_steps", "2"]
    monkeypatch.setattr(hardware, "bf16_speedup", lambda device: 2.0)
    monkeypatch.setattr(hardware, "free_memory", lambda device: 2**20)
    assert main(["train", *usual]) == 0
    decided = yaml.safe_load((run / "config.yaml").read_text())
    assert decided["precision"] == "bf16"
    assert int(decided["micro_batch_size"]) < 16
    (run / "metrics.json").unlink()
    monkeypatch.setattr(hardware, "bf16_speedup", lambda device: 1.0)
    monkeypatch.setattr(hardware, "free_memory", lambda device: 2**40)
    assert main(["train", *usual, "--resume"]) == 0
    assert yaml.safe_load((run / "config.yaml").read_text()) == decided
    assert main(["train", *usual, "--overwrite"]) == 0
    assert yaml.safe_load((run / "config.yaml").read_text())["precision"] == "float32"


def test_final_scores_are_in_float32_unless_those_of_training_will_do(
    data: Path, encoders: dict[str, Path], tmp_path: Path
) -> None:
    usual = f"--data {data} --encoder {encoders['bert']} --use_cpu --quiet --num_train_epochs 1".split()

    def silhouettes(name: str, *given: str) -> list[float]:
        given = (*given, "--precision", "bf16", "--output_dir", str(tmp_path / name))
        assert main(["train", *usual, *given]) == 0
        metrics = json.loads((tmp_path / name / "metrics.json").read_text())
        return [metrics[split]["macro_silhouette"] for split in ("validation", "test")]

    exact, again = silhouettes("exact"), silhouettes("again", "--score_precision", "float32")
    rounded = silhouettes("rounded", "--score_precision", "training")
    assert exact == again
    assert rounded != exact
    assert rounded == pytest.approx(exact, abs=0.02)


def test_accumulation_is_said_once_not_to_be_a_larger_graph(encoders: dict[str, Path], tmp_path: Path) -> None:
    notes: list[str] = []
    settings = {"gradient_accumulation_steps": 2, "say": notes.append}
    make(encoders["bert"], tmp_path, **settings, max_steps=2).train()
    assert len(notes) == 1
    assert "per_device_train_batch_size" in notes[0]
    make(encoders["bert"], tmp_path, **settings, loss="ce")
    assert len(notes) == 1


class Greedy:
    """Asks for more memory than there is, where more than some documents pass at once."""

    def __init__(self, documents: int) -> None:
        self.documents = documents

    def __call__(self, module: nn.Module, inputs: tuple) -> None:
        if inputs[0].shape[0] > self.documents and module.training:
            torch.empty(2**48)


@pytest.mark.parametrize(
    ("documents", "micro_batch_size", "message"),
    [
        (2, "6", "step 1: 6 documents do not fit into memory at once; set --micro_batch_size 3"),
        (0, "1", r"a document of \d+ tokens does not fit into memory even alone \(training row \d+, '.+' ...\); lower"),
    ],
)
def test_too_little_memory_says_what_to_set(
    documents: int, micro_batch_size: str, message: str, encoders: dict[str, Path], tmp_path: Path
) -> None:
    trainer = make(encoders["bert"], tmp_path, micro_batch_size=micro_batch_size)
    trainer.model.base_model.embeddings.word_embeddings.register_forward_pre_hook(Greedy(documents))
    with pytest.raises(OutOfMemory, match=message) as raised:
        trainer.train()
    if micro_batch_size == "1":
        row = int(str(raised.value).split("training row ")[1].split(",")[0])
        longest = len(trainer.train_dataset[row - 1]["input_ids"])
        assert f"a document of {longest} tokens" in str(raised.value)


def test_other_errors_are_not_taken_for_too_little_memory(encoders: dict[str, Path], tmp_path: Path) -> None:
    trainer = make(encoders["bert"], tmp_path)

    def fail(*_: Any) -> None:
        raise RuntimeError("something else")

    trainer.model.base_model.register_forward_pre_hook(fail)
    with pytest.raises(RuntimeError, match="something else"):
        trainer.train()


@pytest.mark.parametrize("micro_batch_size", ["8", pytest.param("3", marks=pytest.mark.slow)])
def test_compiled_splits_share_few_graphs_and_give_the_same(
    micro_batch_size: str, encoders: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch._dynamo.reset()
    counter = CompileCounterWithBackend("aot_eager")
    plain = make(encoders["bert"], tmp_path, micro_batch_size=micro_batch_size, seed=1)
    compiled = make(encoders["bert"], tmp_path, micro_batch_size=micro_batch_size, seed=1, torch_compile=True)
    encoder = compiled.model.base_model
    encoder.forward = torch.compile(type(encoder).forward.__get__(encoder), backend=counter, dynamic=True)
    losses = []
    for trainer in (plain, compiled):
        trainer.budget = SMALL
        model = trainer.model.eval()
        model.training = True
        shapes, found = set(), []
        model.base_model.register_forward_hook(lambda _module, _inputs, output: shapes.add(output[0].shape[:2]))  # noqa: B023
        for batch in list(trainer.get_train_dataloader())[:3]:
            loss = trainer.compute_loss(model, dict(batch))
            loss.backward()
            found.append(loss.item())
        losses.append(found)
    assert losses[1] == pytest.approx(losses[0], rel=1e-4)
    assert len(shapes) > 6
    assert counter.frame_count <= 4, "a recompilation for each shape"


@pytest.mark.slow
def test_a_compiled_run_through_the_command_line(data: Path, encoders: dict[str, Path], tmp_path: Path) -> None:
    usual = f"--data {data} --encoder {encoders['bert']} --use_cpu --quiet --max_steps 6 --logging_steps 1".split()
    usual += ["--precision", "float32", "--per_device_train_batch_size", "16"]
    runs = []
    for name, flags in (("plain", []), ("compiled", ["--torch_compile", "--torch_compile_backend", "aot_eager"])):
        assert main(["train", *usual, *flags, "--output_dir", str(tmp_path / name)]) == 0
        history = [json.loads(line) for line in (tmp_path / name / "history.jsonl").read_text().splitlines()]
        runs.append([entry["loss"] for entry in history if "ce_loss" in entry])
    assert runs[0][0] == pytest.approx(runs[1][0], abs=0.2)  # dropout is drawn in another order
    assert yaml.safe_load((tmp_path / "compiled" / "config.yaml").read_text())["torch_compile"] is True


def test_class_aware_batches_reach_the_trainer(encoders: dict[str, Path], tmp_path: Path) -> None:
    trainer = make(encoders["bert"], tmp_path, documents=48, documents_per_class=4, max_steps=3)
    epochs = []
    for epoch in range(2):
        loader = trainer.get_train_dataloader()
        loader.set_epoch(epoch)
        epochs.append([tuple(batch["labels"].tolist()) for batch in loader])
    for batches in epochs:
        assert sum(map(len, batches)) == 48
        assert all(len(set(batch)) > 1 for batch in batches)
        assert classmates(batches) > 3
    assert epochs[0] != epochs[1]
    trainer.train()


def classmates(batches: list[tuple[int, ...]]) -> float:
    return sum(batch.count(label) for batch in batches for label in batch) / sum(map(len, batches))


def test_the_class_aware_order_goes_on_after_a_resume(encoders: dict[str, Path], tmp_path: Path) -> None:
    settings = {"documents_per_class": 2, "max_steps": 8, "logging_steps": 1, "save_strategy": "steps", "save_steps": 4}
    whole = make(encoders["bert"], tmp_path / "whole", **settings)
    whole.train()
    resumed = make(encoders["bert"], tmp_path / "resumed", **settings)
    resumed.train(resume_from_checkpoint=str(tmp_path / "whole" / "checkpoint-4"))
    losses = [
        {entry["step"]: entry["loss"] for entry in trainer.state.log_history if "ce_loss" in entry}
        for trainer in (whole, resumed)
    ]
    for step in range(5, 9):
        assert losses[1][step] == pytest.approx(losses[0][step], rel=1e-5)


def test_evaluation_keeps_embeddings_and_measures_them(encoders: dict[str, Path], tmp_path: Path) -> None:
    trainer = make(encoders["bert"], tmp_path)
    trainer.budget = Budget(30, 0)
    metrics = trainer.evaluate()
    assert trainer.embeddings.shape == (24, 32)
    assert -1 <= metrics["eval_macro_silhouette"] <= 1
    assert 0 < metrics["eval_bandwidth_sqrt"] < 1
    output = trainer.predict(trainer.eval_dataset)
    batch = first_batch(
        make(encoders["bert"], tmp_path, per_device_train_batch_size=24, train_sampling_strategy="sequential")
    )
    labels = batch.pop("labels")
    with torch.no_grad():
        logits = trainer.model.eval()(**batch).logits
    torch.testing.assert_close(torch.from_numpy(output.predictions), logits, rtol=1e-4, atol=1e-5)
    assert metrics["eval_loss"] == pytest.approx(float(nn.functional.cross_entropy(logits, labels)), rel=1e-5)


def test_counting_what_a_pass_keeps_keeps_nothing() -> None:
    model = nn.Sequential(nn.Linear(8, 8), nn.Softmax(dim=1))
    weights = weakref.ref(model[0].weight)
    assert saved_bytes(partial(model, torch.randn(4, 8)), model) > 0
    del model
    gc.collect()
    assert weights() is None
