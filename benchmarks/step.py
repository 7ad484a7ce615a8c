"""Where the time of a training step goes, and what the graph costs in it beside other losses.

Run `GRAPHLOSS_DATA=FOLDER python benchmarks/step.py`; five minutes. Prints two tables with the bound that is promised,
writes results/step.json and draws docs/step.svg. `--quick` takes one turn and writes nothing. Where GRAPHLOSS_DATA
names no folder, docstrings stand in for MR. With `--device cuda` an encoder of the shape of BERT-base with weights at
random, on 128 documents of 128 tokens, in bf16, into results/step_cuda.json. The other losses come with the extra
`benchmarks`.

The graph term is forward and backward pass of the loss alone, on the embeddings of the batch; it is part of the forward
and of the backward pass of the step. Floating-point operations are counted as 6 for each weight of the encoder's layers
and each token that is no padding (2 forward, 4 backward), and 12 d T^2 a layer for the two products of attention in a
document of T tokens. Their rate is a share of that of a product of two 4,096 x 4,096 matrices, measured in turn with
the steps, in the same precision.
"""

import argparse
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow
import torch
from datasets import Dataset
from torch import Tensor, nn
from torch.profiler import ProfilerActivity, profile
from transformers import BertConfig, BertForSequenceClassification

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks import report  # noqa: E402
from benchmarks.steps import (  # noqa: E402
    BATCH,
    MAX_LENGTH,
    TrainingStep,
    computed_tokens,
    draw,
    lengths_of,
    make_trainer,
    trainer_of,
)
from benchmarks.tables import LOSS_TERMS, STEP_PARTS  # noqa: E402
from benchmarks.timing import median_parts, median_times, seconds  # noqa: E402
from graphloss import GLoss, GraphLossTrainer  # noqa: E402
from graphloss.cli.output import quiet_libraries  # noqa: E402
from graphloss.models.encoder import load_encoder  # noqa: E402
from graphloss.models.pooling import encoder_of  # noqa: E402
from graphloss.training.hardware import settle_precision  # noqa: E402

MEMORY, SQUARE, OPERATIONS = 8_192, 4_096, 10
TURNS, TERM_TURNS = 8, 50
DTYPES = {"float32": torch.float32, "bf16": torch.bfloat16}
GRAPH_SHARE, GRAPH_SHARE_ON_CUDA, RATE_SHARE_ON_CUDA = 0.005, 0.02, 0.45
COLOURS = {"forward": "black", "backward": "gray", "optimizer": "lightgray"}


def precisions(device: str) -> list[str]:
    """Float32 first, see `trainer_of`, and what "auto" picks."""
    if device == "cuda":
        return ["bf16"]
    return list(dict.fromkeys(["float32", settle_precision("auto", torch.device(device), report.progress)]))


def trainer(device: str, loss: str, precision: str) -> tuple[GraphLossTrainer, str]:
    """MiniLM on MR; on CUDA an encoder that keeps it busy. And what the texts are."""
    if device == "cpu":
        drawn = draw("mr", BATCH)
        return make_trainer(drawn, device=device, loss=loss, precision=precision), drawn.source
    torch.manual_seed(0)
    model = BertForSequenceClassification(BertConfig())
    tokens = {
        "input_ids": torch.randint(1_000, 30_000, (BATCH, MAX_LENGTH)).tolist(),
        "attention_mask": [[1] * MAX_LENGTH] * BATCH,
        "labels": [row % 2 for row in range(BATCH)],
    }
    tokenizer = load_encoder("minilm").tokenizer  # pads; its vocabulary is BERT's
    table = Dataset(pyarrow.table(tokens))
    return (
        trainer_of(model, tokenizer, table, pooling="first", device=device, loss=loss, precision=precision),
        "random tokens",
    )


def operations(step: TrainingStep) -> float:
    """Floating-point operations of a step; see above."""
    encoder: Any = encoder_of(step.trainer.model)
    lengths = lengths_of(step.trainer)
    weights = sum(weight.numel() for weight in encoder.encoder.parameters())
    attention = 12 * encoder.config.hidden_size * encoder.config.num_hidden_layers
    return float(6 * weights * lengths.sum() + attention * lengths.square().sum())


def product(precision: str, device: str) -> Callable[[], Tensor]:
    factor = torch.randn(SQUARE, SQUARE, device=device, dtype=DTYPES[precision])
    return lambda: factor @ factor


def by_precision(steps: dict[str, dict[str, TrainingStep]], device: str, turns: int) -> dict[str, dict[str, float]]:
    """Seconds of the parts of a step, and what follows from them, for each precision."""
    tasks: dict[str, Callable[[], dict[str, float]]] = {}
    for precision, of_loss in steps.items():
        for loss, step in of_loss.items():
            tasks[f"{precision} {loss}"] = partial(step.by_part, step.batch())
        multiply = product(precision, device)
        tasks[f"{precision} product"] = lambda multiply=multiply: {"seconds": seconds(multiply)}
    times = median_parts(tasks, turns)
    rows = {}
    for precision, of_loss in steps.items():
        rate = operations(of_loss["gloss"]) / times[f"{precision} gloss"]["step"]
        possible = 2 * SQUARE**3 / times[f"{precision} product"]["seconds"]
        rows[precision] = times[f"{precision} gloss"] | {
            "cross_entropy": times[f"{precision} ce"]["step"],
            "rate": rate,
            "matrix_rate": possible,
            "rate_share": rate / possible,
        }
    return rows


def loss_terms(step: TrainingStep, device: str, turns: int) -> dict[str, float]:
    """Seconds of forward and backward of losses alone, on the embeddings that the batch has."""
    from pytorch_metric_learning.losses import SupConLoss
    from sentence_transformers.sentence_transformer.losses import BatchAllTripletLoss

    labels = step.batch()["labels"]
    answers = step.trainer.answer(step.trainer.train_dataset)
    embeddings = answers.embeddings.to(device).clone().requires_grad_()  # no longer of inference mode
    supcon, batch_all = SupConLoss(), BatchAllTripletLoss(model=None)
    tasks: dict[str, Callable[[], None]] = {
        "gloss": lambda: step.trainer.combined_loss.graph_loss(embeddings, labels).backward(),
        "supcon": lambda: supcon(embeddings, labels).backward(),
        "batch_all": lambda: batch_all.compute_loss_from_embeddings([embeddings], labels).backward(),
        "cosine": lambda: cosine_loss(embeddings, labels).backward(),
    }
    return median_times(tasks, turns)


def profiled(step: TrainingStep) -> dict[str, float]:
    """What takes the time of a step: the operations of torch that take most, as shares of the time of all."""
    batch = step.batch()
    with profile(activities=[ProfilerActivity.CPU]) as found:
        step(batch)
    times = {each.key: each.self_cpu_time_total for each in found.key_averages()}
    first = sorted(times, key=lambda name: times[name], reverse=True)[:OPERATIONS]
    return {name: times[name] / sum(times.values()) for name in first}


def cosine_loss(embeddings: Tensor, labels: Tensor) -> Tensor:
    """Squared error of the cosine of every pair, which should be 1 within a class and 0 between two."""
    points = nn.functional.normalize(embeddings)
    return nn.functional.mse_loss(points @ points.mT, (labels[:, None] == labels).to(points))


def share_of_a_step() -> tuple[dict[str, float], str]:
    """Seconds of a cross-entropy step of MiniLM, of GLoss, and of GLoss with a memory; and what the texts are."""
    ours, source = trainer("cpu", "ce", "auto")
    step = TrainingStep(ours)
    batch = step.batch()
    labels = torch.arange(BATCH) % 2
    embeddings = torch.randn(BATCH, ours.classifier.config.hidden_size).requires_grad_()
    graph_loss, remembering = GLoss(2), GLoss(2, memory_size=MEMORY)
    for _ in range(MEMORY // BATCH):
        remembering(torch.randn_like(embeddings), labels)
    tasks: dict[str, Callable[[], None]] = {
        "step": lambda: step(batch),
        "graph": lambda: graph_loss(embeddings, labels).backward(),
        "memory": lambda: remembering(embeddings, labels).backward(),
    }
    return median_times(tasks, rounds=5), source


def bounds(results: dict[str, Any], device: str) -> list[report.Bound]:
    share = results["terms"]["gloss"] / fastest(results["rows"])
    text = "graph term: share of the fastest cross-entropy step"
    if device == "cpu":
        return [report.Bound(text, share, GRAPH_SHARE)]
    rate = results["rows"]["bf16"]["rate_share"]
    return [
        report.Bound(text, share, GRAPH_SHARE_ON_CUDA),
        report.Bound("bf16: share of the rate of a matrix product", rate, RATE_SHARE_ON_CUDA, True),
    ]


def fastest(rows: dict[str, dict[str, float]]) -> float:
    return min(row["cross_entropy"] for row in rows.values())


def table(results: dict[str, Any]) -> str:
    rows, terms = results["rows"], results["terms"]
    lines = [f"{'one step, ms':<34}" + "".join(f"{precision:>12}" for precision in rows)]
    for part, text in STEP_PARTS.items():
        lines.append(f"{text:<34}" + "".join(f"{1e3 * row[part]:12.1f}" for row in rows.values()))
    lines.append(f"{'10^9 operations a second':<34}" + "".join(f"{row['rate'] / 1e9:12.1f}" for row in rows.values()))
    lines.append(f"{'share of a matrix product':<34}" + "".join(f"{row['rate_share']:12.2f}" for row in rows.values()))
    lines += ["", f"{'forward + backward of a loss, ms':<34}{'':12}{'share of the fastest step':>28}"]
    for name, text in LOSS_TERMS.items():
        lines.append(f"{text:<34}{1e3 * terms[name]:12.2f}{terms[name] / fastest(rows):28.5f}")
    return "\n".join(lines)


def draw_figure(results: dict[str, Any]) -> None:
    figure, (left, right) = report.new_figure(panels=2, size=(8, 3.4))
    bottom = dict.fromkeys(results["rows"], 0.0)
    for part, colour in COLOURS.items():
        heights = [row[part] for row in results["rows"].values()]
        left.bar(list(bottom), heights, bottom=list(bottom.values()), width=0.5, color=colour, label=part)
        bottom = {name: bottom[name] + row[part] for name, row in results["rows"].items()}
    left.set(ylabel="one step, seconds")
    left.legend(frameon=False)
    names = list(LOSS_TERMS)[::-1]
    colours = ["black" if name == "gloss" else "lightgray" for name in names]
    right.barh([LOSS_TERMS[name] for name in names], [1e3 * results["terms"][name] for name in names], color=colours)
    right.set(xlabel="forward + backward of the loss alone, ms")
    report.save_figure(figure, "step")


def main() -> None:
    options: argparse.Namespace = report.arguments(__doc__).parse_args()
    quiet_libraries()
    turns, term_turns = (1, 10) if options.quick else (TURNS, TERM_TURNS)
    steps: dict[str, dict[str, TrainingStep]] = {}
    source = ""
    for precision in precisions(options.device):
        steps[precision] = {}
        for loss in ("gloss", "ce"):
            ours, source = trainer(options.device, loss, precision)
            steps[precision][loss] = TrainingStep(ours)
    rows = by_precision(steps, options.device, turns)
    report.progress("steps done")
    last = steps[list(steps)[-1]]["gloss"]
    results = {
        "rows": rows,
        "terms": loss_terms(last, options.device, term_turns),
        "profile": {"precision": list(steps)[-1], "shares": profiled(last)} if options.device == "cpu" else None,
        "tokens": int(lengths_of(last.trainer).sum()),
        "computed_tokens": computed_tokens(last.trainer),
        "texts": source,
    }
    print(f"{torch.get_num_threads()} threads, {BATCH} documents, medians; {source}")
    print(f"{results['tokens']} tokens, with padding {results['computed_tokens']}")
    print(table(results))
    if report.conclude("step", results, bounds(results, options.device), options):
        draw_figure(results)


if __name__ == "__main__":
    main()
