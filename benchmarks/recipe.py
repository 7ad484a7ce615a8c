"""One step of G-Loss against the step of the released recipe, on four data sets.

Run `GRAPHLOSS_DATA=FOLDER python benchmarks/recipe.py`; ten minutes. Prints one table with the bounds that are
promised, writes results/recipe.json and draws docs/recipe.svg. `--quick` takes MR alone and one turn, and writes
nothing. With `--device cuda` MR alone, into results/recipe_cuda.json. Where GRAPHLOSS_DATA names no folder, docstrings
stand in for MR.

The recipe is written plainly: two passes of the encoder over the batch, one for the logits and one for the embeddings
of the first token, each padded to 128 tokens; the dense graph in float64 with masks at random; Adam; all of the encoder
in float32. Ours is `GraphLossTrainer` at its defaults, in float32 and in bf16. The same 128 documents for all, in turn.
"""

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn
from transformers.utils import enable_tf32

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks import report  # noqa: E402
from benchmarks.steps import (  # noqa: E402
    BATCH,
    CLIPPED_AT,
    MAX_LENGTH,
    Drawn,
    TrainingStep,
    computed_tokens,
    data_is_there,
    draw,
    lengths_of,
    make_trainer,
)
from benchmarks.timing import median_times  # noqa: E402
from graphloss.cli.output import quiet_libraries  # noqa: E402
from graphloss.data.documents import label_ids  # noqa: E402
from graphloss.graph.bandwidth import bandwidth_sqrt  # noqa: E402
from graphloss.models.classifier import build_classifier  # noqa: E402
from graphloss.models.encoder import load_encoder  # noqa: E402
from tests.graph import reference  # noqa: E402

GAMMA, LAMBDA, RATE = 0.7, 0.7, 5e-5
TURNS = 12  # of calls that take a moment; of slow ones, three
PRECISIONS = ("float32", "bf16")  # in this order; see `trainer_of`
TIMES_FASTER = {
    "mr": {"float32": 9.0, "bf16": 15.0},
    "r8": {"float32": 3.0, "bf16": 5.0},
    "ohsumed": {"float32": 2.0, "bf16": 3.3},
    "20ng": {"float32": 2.0, "bf16": 3.3},
}
TIMES_FASTER_ON_CUDA = {"mr": {"bf16": 12.0}}


class Recipe:
    """The step of the released recipe, as its paper and its code have it.

    Args:
        drawn: the documents of the batch.
        device: "cpu" or "cuda".
    """

    def __init__(self, drawn: Drawn, device: str) -> None:
        """Load the encoder, pad the batch, and fix the kernel width by the untrained embeddings."""
        encoder = load_encoder("minilm")
        torch.manual_seed(0)
        self.model = build_classifier(encoder, drawn.names).to(device)
        self.classes = len(drawn.names)
        self.labels = torch.tensor(label_ids(drawn.documents, drawn.names), device=device)
        self.batch = encoder.tokenizer(
            drawn.documents.texts, truncation=True, max_length=MAX_LENGTH, padding="max_length", return_tensors="pt"
        ).to(device)
        self.optimizer = torch.optim.Adam(self.model.parameters(), lr=RATE)
        with torch.no_grad():
            self.sigma = bandwidth_sqrt(self.embeddings())
        self.model.train()

    def embeddings(self) -> Tensor:
        """(B, d) the first token of each document, by a pass of its own."""
        return self.model.base_model(**self.batch)[0][:, 0]

    def __call__(self) -> None:
        """One step."""
        loss = (1 - LAMBDA) * nn.functional.cross_entropy(self.model(**self.batch).logits, self.labels)
        loss = loss + LAMBDA * reference.released_loss(self.embeddings(), self.labels, self.classes, self.sigma, GAMMA)
        loss.backward()
        nn.utils.clip_grad_norm_(self.model.parameters(), CLIPPED_AT)
        self.optimizer.step()
        self.optimizer.zero_grad()


def in_full_float32(task: Callable[[], None]) -> None:
    """On CUDA, without the short products that our trainer allows itself."""
    enable_tf32(False)
    task()
    enable_tf32(True)


def measure(data: str, device: str, turns: int) -> dict[str, float | str]:
    """Seconds of a step by name, and the tokens of the batch."""
    drawn = draw(data, BATCH)
    steps = [TrainingStep(make_trainer(drawn, device=device, precision=precision)) for precision in PRECISIONS]
    batch = steps[0].batch()
    recipe = Recipe(drawn, device)
    tasks: dict[str, Callable[[], None]] = {
        "recipe": recipe if device == "cpu" else lambda: in_full_float32(recipe),
        **{name: lambda step=step: step(batch) for name, step in zip(PRECISIONS, steps, strict=True)},
    }
    trainer = steps[0].trainer
    tokens = {
        "tokens": int(lengths_of(trainer).sum()),
        "computed_tokens": computed_tokens(trainer),
        "recipe_tokens": BATCH * MAX_LENGTH,
    }
    return median_times(tasks, rounds=turns) | tokens | {"texts": drawn.source}


def bounds(rows: dict[str, dict], promised: dict[str, dict[str, float]]) -> list[report.Bound]:
    return [
        report.Bound(f"{data}, {name}: times as fast as the released recipe", row["recipe"] / row[name], least, True)
        for data, row in rows.items()
        for name, least in promised[data].items()
    ]


def table(rows: dict[str, dict]) -> str:
    lines = [f"{'one step, ms':<12}{'tokens':>9}{'recipe':>11}{'float32':>11}{'times':>7}{'bf16':>11}{'times':>7}"]
    for data, row in rows.items():
        cells = "".join(f"{1e3 * row[name]:11.1f}{row['recipe'] / row[name]:7.1f}" for name in PRECISIONS)
        lines.append(f"{data:<12}{row['tokens']:9}{1e3 * row['recipe']:11.1f}{cells}")
    return "\n".join(lines)


def draw_figure(rows: dict[str, dict]) -> None:
    figure, axes = report.new_figure()
    names = {
        "recipe": ("released recipe", "lightgray"),
        "float32": ("ours, float32", "gray"),
        "bf16": ("ours, bf16", "black"),
    }
    for place, (name, (text, colour)) in enumerate(names.items()):
        positions = [position + 0.27 * (place - 1) for position in range(len(rows))]
        axes.bar(positions, [row[name] for row in rows.values()], width=0.25, color=colour, label=text)
    axes.set(xticks=range(len(rows)), xticklabels=list(rows), ylabel=f"one step of {BATCH} documents, seconds")
    axes.legend(frameon=False, loc="lower left", bbox_to_anchor=(0, 1), ncols=len(names))
    report.save_figure(figure, "recipe")


def main() -> None:
    options: argparse.Namespace = report.arguments(__doc__).parse_args()
    quiet_libraries()
    promised = TIMES_FASTER if options.device == "cpu" else TIMES_FASTER_ON_CUDA
    names = list(promised) if data_is_there() and not options.quick else ["mr"]
    rows = {}
    for data in names:
        rows[data] = measure(data, options.device, turns=1 if options.quick else TURNS)
        report.progress(f"{data} done")
    print(f"{torch.get_num_threads()} threads, MiniLM, {BATCH} documents a step, medians; {rows['mr']['texts']}")
    print(table(rows))
    if report.conclude("recipe", {"rows": rows}, bounds(rows, promised), options):
        draw_figure(rows)


if __name__ == "__main__":
    main()
