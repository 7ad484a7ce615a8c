"""The loss, the pass and the defaults of the trainer, for each architecture."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from transformers import AutoModelForSequenceClassification

from graphloss import GLoss, GLossConfig, GraphLossTrainer, TrainingConfig
from graphloss.data.documents import Documents
from graphloss.data.tokens import encode
from graphloss.errors import InputError
from graphloss.models.adapters import add_adapters, merge_adapters
from graphloss.models.classifier import LinearHeadClassifier, build_classifier, load_classifier, save_classifier
from graphloss.models.encoder import load_encoder
from graphloss.models.parts import Budget, parts_by_length
from graphloss.models.pooling import pool
from graphloss.training.failures import NonFiniteLoss
from tests.conftest import sentences, spread_out

ARCHITECTURES = ["bert", "roberta", "distilbert", "modernbert", "llama"]
NAMES = ["food", "space", "sports"]
USUAL = {"per_device_train_batch_size": 8, "precision": "float32", "use_cpu": True}
SMALL = Budget(tokens=40, overhead=0)  # splits a batch of eight


def make(folder: Path, output: Path, *, head: str = "stock", documents: int = 24, **settings: Any) -> GraphLossTrainer:
    encoder = load_encoder(str(folder))
    torch.manual_seed(0)
    model = build_classifier(encoder, NAMES, head=head, pooling=encoder.pooling)
    if settings.pop("lora", False):
        add_adapters(model, 4)
    gloss = GLossConfig(**settings.pop("gloss", {}))
    given = {name: settings.pop(name) for name in ("say", "ends_fitted") if name in settings}
    texts, labels = sentences(documents)
    tokens = encode(Documents(texts), encoder.tokenizer, 32, [NAMES.index(label) for label in labels])
    args = TrainingConfig(output_dir=str(output), **USUAL | settings)
    return GraphLossTrainer(
        model,
        args,
        **given,
        gloss=gloss,
        pooling=encoder.pooling,
        train_dataset=tokens,
        eval_dataset=tokens,
        processing_class=encoder.tokenizer,
    )


def first_batch(trainer: GraphLossTrainer) -> dict[str, Tensor]:
    return dict(next(iter(trainer.get_train_dataloader())))


@pytest.mark.parametrize("head", ["stock", "linear"])
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_one_pass_gives_the_mixed_loss(name: str, head: str, encoders: dict[str, Path], tmp_path: Path) -> None:
    """L = lambda L_G + (1 - lambda) L_CE, on the pooled last hidden state and the logits of the same pass."""
    trainer = make(encoders[name], tmp_path, head=head, gloss={"graph_weight": 0.4}, seed=3)
    trainer.budget = SMALL
    batch = first_batch(trainer)
    model = trainer.model.eval()  # no dropout, so that a second pass gives the same
    passes: list[int] = []
    model.base_model.register_forward_hook(lambda *_: passes.append(1))
    model.training = True
    loss = trainer.compute_loss(model, dict(batch))
    assert len(passes) == len(parts_by_length(batch["attention_mask"].sum(1), SMALL)) > 1  # each document in one

    labels = batch.pop("labels")
    logits = model(**batch).logits
    hidden_states = model.base_model(**batch)[0]
    embeddings = pool(hidden_states, batch["attention_mask"], trainer.pooling)
    graph = trainer.gloss.build(3, seed=3)(embeddings, labels)
    expected = 0.4 * graph + 0.6 * nn.functional.cross_entropy(logits, labels)
    torch.testing.assert_close(loss, expected)
    if head == "linear":
        torch.testing.assert_close(logits, model.head(embeddings))


@pytest.mark.parametrize(("name", "side"), [*((name, "right") for name in ARCHITECTURES), ("llama", "left")])
def test_parts_and_micro_batches_give_the_loss_and_gradients_of_one_pass(
    name: str, side: str, encoders: dict[str, Path], tmp_path: Path
) -> None:
    results = []
    for budget, micro_batch_size in ((Budget(10_000, 10_000), 8), (SMALL, 8), (SMALL, 3), (SMALL, 1)):
        trainer = make(encoders[name], tmp_path, micro_batch_size=str(micro_batch_size), seed=1)
        trainer.processing_class.padding_side = side
        trainer.budget = budget
        batch = first_batch(trainer)
        tokens: list[int] = []
        model = trainer.model.eval()
        model.base_model.register_forward_hook(
            lambda _module, _inputs, output, tokens=tokens: tokens.append(output[0].shape[0] * output[0].shape[1])
        )
        model.training = True
        loss = trainer.compute_loss(model, batch)
        passes = sum(tokens)
        loss.backward()
        gradients = {key: value.grad for key, value in model.named_parameters() if value.grad is not None}
        results.append((loss.detach(), gradients, passes, sum(tokens) - passes))
    whole, *others = results
    for loss, gradients, passes, again in others:
        torch.testing.assert_close(loss, whole[0])
        assert gradients.keys() == whole[1].keys()
        for key, gradient in whole[1].items():
            torch.testing.assert_close(gradients[key], gradient, rtol=1e-3, atol=1e-5)
        assert passes < whole[2]
        assert again < passes  # what is held is not computed again
    assert [again > 0 for *_, again in results] == [False, False, True, True]


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_trains_and_scores(name: str, encoders: dict[str, Path], tmp_path: Path) -> None:
    trainer = make(encoders[name], tmp_path, max_steps=3, logging_steps=1)
    before = {key: value.clone() for key, value in trainer.model.state_dict().items()}
    trainer.train()
    after = trainer.model.state_dict()
    assert any(not torch.equal(before[key], after[key]) for key in before)
    logged = [entry for entry in trainer.state.log_history if "graph_loss" in entry]
    assert len(logged) == 3
    assert {"ce_loss", "bandwidth", "evaluated", "orphans"} <= set(logged[0])
    assert logged[0]["loss"] == pytest.approx(0.7 * logged[0]["graph_loss"] + 0.3 * logged[0]["ce_loss"], rel=1e-4)
    assert any("eval_macro_f1" in entry for entry in trainer.state.log_history)


def test_padding_is_to_the_longest_of_the_batch(encoders: dict[str, Path], tmp_path: Path) -> None:
    trainer = make(encoders["bert"], tmp_path)
    longest = max(len(row["input_ids"]) for row in trainer.train_dataset)
    for batch in trainer.get_train_dataloader():
        width = batch["input_ids"].shape[1]
        assert width == batch["attention_mask"].sum(1).max() <= longest


def test_cross_entropy_alone_has_no_graph(encoders: dict[str, Path], tmp_path: Path) -> None:
    trainer = make(encoders["bert"], tmp_path, loss="ce")
    batch = first_batch(trainer)
    model = trainer.model.eval()
    model.training = True
    loss = trainer.compute_loss(model, dict(batch))
    labels = batch.pop("labels")
    torch.testing.assert_close(loss, nn.functional.cross_entropy(model(**batch).logits, labels))


def test_balanced_class_weights_reach_both_losses(encoders: dict[str, Path], tmp_path: Path) -> None:
    trainer = make(encoders["bert"], tmp_path, documents=25, class_weights="balanced")
    expected = 25 / (3 * torch.tensor([9.0, 8.0, 8.0]))
    torch.testing.assert_close(trainer.combined_loss.class_weights, expected)
    torch.testing.assert_close(trainer.combined_loss.graph_loss.class_weights, expected)
    assert make(encoders["bert"], tmp_path).combined_loss.class_weights is None


def test_a_batch_without_labels_and_batches_of_one(encoders: dict[str, Path], tmp_path: Path) -> None:
    trainer = make(encoders["bert"], tmp_path)
    batch = first_batch(trainer) | {"labels": torch.full((8,), -100)}
    trainer.model.train()
    loss = trainer.compute_loss(trainer.model, batch)
    loss.backward()
    assert loss.item() == 0.0
    trainer = make(encoders["bert"], tmp_path, documents=9, num_train_epochs=1)  # a last batch of one
    trainer.train()
    trainer = make(
        encoders["bert"], tmp_path, documents=4, num_train_epochs=1, per_device_train_batch_size=1, logging_steps=1
    )
    trainer.train()
    assert trainer.state.global_step == 4
    json.loads(json.dumps(trainer.state.log_history, allow_nan=False))


@pytest.mark.parametrize("name", ["bert", "llama"])
@pytest.mark.parametrize("head", ["stock", "linear"])
def test_adapters_train_alone_and_merge_into_a_plain_model(
    name: str, head: str, encoders: dict[str, Path], tmp_path: Path
) -> None:
    trainer = make(encoders[name], tmp_path / "run", head=head, lora=True, max_steps=3, learning_rate=1e-2)
    trained = [key for key, value in trainer.model.named_parameters() if value.requires_grad]
    assert any("lora" in key for key in trained)
    assert all(
        "lora" in key or not key.startswith(trainer.model.base_model_prefix + ".") for key in trained if head == "stock"
    )
    trainer.train()
    batch = first_batch(trainer)
    batch.pop("labels")
    model = trainer.model.eval()
    with torch.no_grad():
        adapted = model(**batch).logits
        merge_adapters(model)
        torch.testing.assert_close(model(**batch).logits, adapted, rtol=1e-4, atol=1e-5)
        assert not any("lora" in key for key in model.state_dict())
        save_classifier(model, tmp_path)
        loaded = load_classifier(tmp_path, trainer.pooling)
        torch.testing.assert_close(loaded(**batch).logits, adapted, rtol=1e-4, atol=1e-5)


def test_a_linear_head_at_unit_length_is_saved_and_stays_in_float32(encoders: dict[str, Path], tmp_path: Path) -> None:
    trainer = make(encoders["bert"], tmp_path, head="linear")
    batch = {name: tensor for name, tensor in first_batch(trainer).items() if name != "labels"}
    model = trainer.classifier.eval()
    model.unit_length = True
    with torch.no_grad():
        embeddings = pool(model.base_model(**batch)[0], batch["attention_mask"], trainer.pooling)
        expected = model.head(embeddings / embeddings.norm(dim=1, keepdim=True))
        save_classifier(model, tmp_path)
        torch.testing.assert_close(load_classifier(tmp_path, trainer.pooling)(**batch).logits, expected)
        with torch.autocast("cpu", torch.bfloat16):
            assert model(**batch).logits.dtype == torch.float32


def test_takes_a_model_that_peft_has_wrapped(encoders: dict[str, Path], tmp_path: Path) -> None:
    from peft import LoraConfig, get_peft_model

    model = AutoModelForSequenceClassification.from_pretrained(encoders["bert"], num_labels=3)
    model = get_peft_model(model, LoraConfig(task_type="SEQ_CLS", target_modules=["query"]))
    plain = make(encoders["bert"], tmp_path)
    args = TrainingConfig(output_dir=str(tmp_path), use_cpu=True, max_steps=2)
    trainer = GraphLossTrainer(
        model,
        args,
        train_dataset=plain.train_dataset,
        eval_dataset=plain.train_dataset,
        processing_class=plain.processing_class,
    )
    trainer.train()
    assert trainer.combined_loss.graph_loss.diagnostics["evaluated"] > 0


def test_best_weights_are_restored_and_training_stops_early(encoders: dict[str, Path], tmp_path: Path) -> None:
    trainer = make(encoders["bert"], tmp_path, num_train_epochs=30, patience=2, learning_rate=3e-3)
    trainer.train()
    scores = [entry["eval_macro_f1"] for entry in trainer.state.log_history if "eval_macro_f1" in entry]
    assert len(scores) < 30
    assert max(scores[:-2]) >= max(scores[-2:])
    assert trainer.evaluate()["eval_macro_f1"] == pytest.approx(max(scores))


@pytest.mark.parametrize("patience", [0, 1])
def test_the_last_weights_are_kept_where_the_head_is_made_afterwards(
    patience: int, encoders: dict[str, Path], tmp_path: Path
) -> None:
    """Unless training was stopped early, also when a run that had ended is gone on from."""
    settings = {"num_train_epochs": 4, "patience": patience, "save_total_limit": None}
    trainer = make(encoders["bert"], tmp_path, ends_fitted=True, **settings)
    scores = iter([0.5, 0.9, 0.7, 0.6])
    trainer.compute_metrics = lambda _: {"macro_f1": next(scores)}
    trainer.train()
    end = 9 if patience else 12
    best, last = (load_file(tmp_path / f"checkpoint-{step}" / "model.safetensors") for step in (6, end))
    assert any(not torch.equal(best[name], last[name]) for name in best)
    for _ in range(2):
        kept = trainer.model.state_dict()
        assert all(torch.equal(weight, kept[name]) for name, weight in (best if patience else last).items())
        trainer.restore(tmp_path / f"checkpoint-{end}")


@pytest.mark.parametrize("head", ["stock", "linear"])
def test_evaluations_score_the_head_that_will_be_fitted(head: str, encoders: dict[str, Path], tmp_path: Path) -> None:
    """Beside an encoder that tells the classes apart and a head from random weights that hardly moves, which is scored
    before the first step, by `predict`, and where none will be fitted."""
    encoder = spread_out(encoders["bert"], tmp_path / "encoder")
    scores = {}
    for fitted in (False, True):
        output = tmp_path / str(fitted)
        trainer = make(
            encoder, output, head=head, ends_fitted=fitted, documents=120, num_train_epochs=1, learning_rate=1e-6
        )
        trainer.pooling = "mean"
        before = trainer.evaluate()
        trainer.train()
        scores[fitted] = trainer.evaluate()
        assert trainer.evaluate()["eval_loss"] == scores[fitted]["eval_loss"]
        assert abs(scores[fitted]["eval_accuracy"] - before["eval_accuracy"]) < 0.1 or fitted
        logits = torch.from_numpy(trainer.predict(trainer.eval_dataset).predictions)
        torch.testing.assert_close(logits, trainer.answer(trainer.eval_dataset).logits)
    assert scores[True]["eval_accuracy"] > scores[False]["eval_accuracy"] + 0.3
    assert scores[True]["eval_loss"] < scores[False]["eval_loss"] - 0.3


@pytest.mark.parametrize("where", ["embedding", "classifier"])
def test_a_loss_that_is_not_finite_stops_with_step_cause_and_checkpoint(
    where: str, encoders: dict[str, Path], tmp_path: Path
) -> None:
    trainer = make(encoders["bert"], tmp_path, save_strategy="steps", save_steps=2, max_steps=10)

    def break_it(module: nn.Module, inputs: tuple, output: Tensor) -> Tensor | None:
        return output * float("nan") if trainer.state.global_step == 5 and trainer.model.training else None

    broken = trainer.model.classifier if where == "classifier" else trainer.model.bert.embeddings
    broken.register_forward_hook(break_it)
    with pytest.raises(NonFiniteLoss, match="step 6: the loss is not finite, because of logits") as raised:
        trainer.train()
    assert ("embeddings" in str(raised.value)) == (where == "embedding")
    assert (tmp_path / "checkpoint-4" / "model.safetensors").exists()


def test_weights_that_are_not_finite_are_never_saved(encoders: dict[str, Path], tmp_path: Path) -> None:
    trainer = make(encoders["bert"], tmp_path, max_steps=1)
    weight = trainer.model.classifier.weight
    weight.register_hook(lambda gradient: gradient * float("inf"))
    with pytest.raises(NonFiniteLoss, match=r"step 1: weight .* is not finite"):
        trainer.train()
    assert not list(tmp_path.glob("checkpoint-*/model.safetensors"))


def strategies(**given: Any) -> tuple[str, str, float | None, float]:
    args = TrainingConfig(output_dir="unused", use_cpu=True, **given)
    return args.save_strategy.value, args.eval_strategy.value, args.eval_steps, args.save_steps


def test_evaluation_follows_saving_unless_both_are_given() -> None:
    assert strategies()[:2] == ("epoch", "epoch")
    assert strategies(save_strategy="steps", save_steps=7) == ("steps", "steps", 7, 7)
    assert strategies(eval_strategy="steps", eval_steps=5) == ("steps", "steps", 5, 5)
    assert strategies(save_strategy="no")[:2] == ("no", "no")
    assert strategies(save_strategy="no", eval_strategy="epoch")[:2] == ("no", "epoch")


@pytest.mark.parametrize("settings", [{"graph_weight": 2.0}, {"bandwidth": "0"}, {"labelled_fraction": -1.0}])
def test_the_config_refuses_what_the_loss_refuses(settings: dict) -> None:
    with pytest.raises(InputError):
        GLossConfig(**settings)


def test_defaults_are_the_documented_ones(tmp_path: Path) -> None:
    args = TrainingConfig(output_dir=str(tmp_path))
    assert (args.per_device_train_batch_size, args.num_train_epochs, args.patience) == (128, 8, 3)
    assert (args.learning_rate, args.warmup_steps, args.lr_scheduler_type) == (5e-5, 0.1, "linear")
    assert args.optim == "adamw_torch_fused"
    gloss = GLossConfig()
    assert (gloss.graph_weight, gloss.labelled_fraction, gloss.bandwidth, gloss.transition) == (0.7, 0.7, "0.35", "row")
    assert (gloss.objective, gloss.masking, gloss.graph_weighting) == ("members", "folds", "constant")
    json.dumps(args.to_dict())


def test_the_linear_head_is_initialized_like_the_encoder(encoders: dict[str, Path]) -> None:
    model = build_classifier(load_encoder(str(encoders["llama"])), NAMES, head="linear", pooling="last")
    assert isinstance(model, LinearHeadClassifier)
    assert model.head.bias.abs().max() == 0
    assert 0.01 < model.head.weight.std() < 0.04


def logged(trainer: GraphLossTrainer) -> dict[int, dict[str, float]]:
    return {entry["step"]: entry for entry in trainer.state.log_history if "graph_loss" in entry}


def test_logs_what_the_graph_was_like(encoders: dict[str, Path], tmp_path: Path) -> None:
    trainer = make(encoders["bert"], tmp_path, max_steps=4, logging_steps=2)
    trainer.train()
    assert set(logged(trainer)) == {2, 4}
    for entry in logged(trainer).values():
        assert 1 <= entry["effective_neighbours"] <= 7
        assert entry["labelled"] + entry["masked"] == 8
        assert 0 < entry["graph_gradient_share"] < 1


@pytest.mark.parametrize("weight", [0.0, 0.4, 1.0])
def test_the_share_of_the_gradient_is_that_of_the_last_hidden_states(
    weight: float, encoders: dict[str, Path], tmp_path: Path
) -> None:
    trainer = make(encoders["bert"], tmp_path, gloss={"graph_weight": weight})
    batch = first_batch(trainer)
    labels = batch.pop("labels")
    trainer.model.eval()
    logits, embeddings, states = trainer._forward(trainer.model, batch)
    parts = {"graph_loss": GLoss(3)(embeddings, labels), "ce_loss": nn.functional.cross_entropy(logits, labels)}
    got = trainer.combined_loss.graph_share(parts, states)
    norms = [torch.autograd.grad(part, states[0], retain_graph=True)[0].norm() for part in parts.values()]
    expected = weight * norms[0] / (weight * norms[0] + (1 - weight) * norms[1])
    torch.testing.assert_close(got, expected)


@pytest.mark.parametrize("gloss", [{"memory_size": 12}, {"bandwidth": "learned"}], ids=["memory", "learned"])
@pytest.mark.parametrize("stop", [3, 4], ids=["at the end of an epoch", "within one"])
def test_a_resumed_run_has_the_state_of_the_graph_loss(
    gloss: dict, stop: int, encoders: dict[str, Path], tmp_path: Path
) -> None:
    settings = {"max_steps": 8, "logging_steps": 1, "save_strategy": "steps", "save_steps": stop, "gloss": gloss}
    whole = make(encoders["bert"], tmp_path / "whole", **settings)
    whole.train()
    resumed = make(encoders["bert"], tmp_path / "resumed", **settings)
    resumed.train(resume_from_checkpoint=str(tmp_path / "whole" / f"checkpoint-{stop}"))
    for step in range(stop + 1, 9):
        for name in ("graph_loss", "bandwidth", "memory"):
            assert logged(resumed)[step][name] == pytest.approx(logged(whole)[step][name], rel=1e-5), (step, name)
    if "memory_size" in gloss:  # three batches of eight an epoch
        assert [logged(whole)[step]["memory"] for step in range(1, 9)] == [0, 8, 12, 0, 8, 12, 0, 8]


def test_a_learned_width_has_a_learning_rate_of_its_own(encoders: dict[str, Path], tmp_path: Path) -> None:
    gloss = {"bandwidth": "learned", "bandwidth_learning_rate": 0.2}
    trainer = make(encoders["bert"], tmp_path, max_steps=3, logging_steps=1, gloss=gloss, warmup_steps=0)
    trainer.train()
    group = trainer.optimizer.param_groups[-1]
    assert group["initial_lr"] == 0.2
    assert group["weight_decay"] == 0.0
    widths = [entry["bandwidth"] for entry in logged(trainer).values()]
    assert abs(np.log(widths[1] / widths[0])) == pytest.approx(0.2, rel=0.01)  # the first step of Adam is its rate
