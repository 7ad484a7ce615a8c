"""What the graph costs: against the released recipe, and as a share of a training step.

Run `python benchmarks/step.py`. Prints one table and writes results/step.json. All figures are medians of repetitions
that take turns in one process, so that a machine whose speed drifts slows both sides alike.
"""

import os
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import nn

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from graphloss import GLoss  # noqa: E402
from graphloss.cli.quiet import quiet_libraries  # noqa: E402
from graphloss.data.docstrings import docstring_splits  # noqa: E402
from graphloss.data.documents import Documents  # noqa: E402
from graphloss.data.splits import read_splits  # noqa: E402
from graphloss.data.tokens import encode  # noqa: E402
from graphloss.models.classifier import build_classifier  # noqa: E402
from graphloss.models.encoder import load_encoder  # noqa: E402
from graphloss.training.config import TrainingConfig  # noqa: E402
from graphloss.training.run_directory import describe_environment, write_json  # noqa: E402
from graphloss.training.splitting import split_by_length  # noqa: E402
from tests.graph import reference  # noqa: E402

BATCH, DIMENSION, CLASSES = 128, 384, 23


def median_times(tasks: dict[str, Callable[[], None]], repetitions: int) -> dict[str, float]:
    """Median seconds of each task, the tasks taking turns; the first two rounds are not counted."""
    times: dict[str, list[float]] = {name: [] for name in tasks}
    for repetition in range(repetitions + 2):
        for name, task in tasks.items():
            start = time.perf_counter()
            task()
            if repetition >= 2:
                times[name].append(time.perf_counter() - start)
    return {name: statistics.median(values) for name, values in times.items()}


def against_the_released_recipe() -> dict[str, float]:
    generator = torch.Generator().manual_seed(0)
    embeddings = torch.randn(BATCH, DIMENSION, generator=generator).requires_grad_()
    labels = torch.randint(CLASSES, (BATCH,), generator=generator)
    graph_loss = GLoss(CLASSES)
    return median_times(
        {
            "released": lambda: reference.released_loss(embeddings, labels, CLASSES, sigma=0.66).backward(),
            "graph": lambda: graph_loss(embeddings, labels).backward(),
        },
        repetitions=300,
    )


def texts() -> tuple[Documents, str]:
    if os.environ.get("GRAPHLOSS_DATA"):
        return read_splits(data="mr").train, "MR"
    documents = docstring_splits(classes=8, training=32, validation=1, test=1).train
    shortened = Documents([text[:120] for text in documents.texts])
    return shortened, "docstrings cut to 120 characters; GRAPHLOSS_DATA names no folder with MR"


def share_of_a_step() -> tuple[dict[str, float], str]:
    documents, source = texts()
    encoder = load_encoder("minilm")
    model = build_classifier(encoder, ["negative", "positive"]).train()
    tokens = encode(documents.take(list(range(BATCH))), encoder.tokenizer, 128)
    batch = encoder.tokenizer.pad(tokens.to_dict(), return_tensors="pt")
    labels = torch.arange(BATCH) % 2
    embeddings = torch.randn(BATCH, DIMENSION).requires_grad_()
    graph_loss = GLoss(2)
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-5)

    def cross_entropy_step(parts: int) -> None:
        passes = [(rows, model(**tensors).logits) for rows, tensors in split_by_length(dict(batch), parts)]
        order, logits = (torch.cat(column) for column in zip(*passes, strict=True))
        nn.functional.cross_entropy(logits, labels[order]).backward()
        optimizer.step()
        optimizer.zero_grad()

    tasks = {
        "step": lambda: cross_entropy_step(1),
        "split_step": lambda: cross_entropy_step(TrainingConfig.length_splits),
        "graph": lambda: graph_loss(embeddings, labels).backward(),
    }
    return median_times(tasks, repetitions=10), source


def main() -> None:
    quiet_libraries()
    released = against_the_released_recipe()
    step, source = share_of_a_step()
    ratio = released["graph"] / released["released"]
    share, split = step["graph"] / step["step"], step["split_step"] / step["step"]
    print(f"{torch.get_num_threads()} threads, medians")
    print(f"graph loss, forward + backward, B = {BATCH}, d = {DIMENSION}, C = {CLASSES}")
    print(f"  released recipe, dense float64   {1e3 * released['released']:8.2f} ms")
    print(f"  GLoss                            {1e3 * released['graph']:8.2f} ms   {ratio:.2f} of it (bound 0.50)")
    print(f"training step of MiniLM, B = {BATCH}, {source}")
    print(f"  cross-entropy                    {1e3 * step['step']:8.1f} ms")
    print(f"  the same in parts by length      {1e3 * step['split_step']:8.1f} ms   {split:.2f} of it")
    print(f"  GLoss                            {1e3 * step['graph']:8.2f} ms   {share:.4f} of the first (bound 0.01)")
    figures = {"released_recipe": released, "training_step": step | {"texts": source}}
    shares = {"ratio": ratio, "share": share, "split": split}
    write_json(ROOT / "results" / "step.json", figures | shares | {"environment": describe_environment(0, "cpu")})


if __name__ == "__main__":
    main()
