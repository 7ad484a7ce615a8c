"""What the graph costs as a share of a training step of MiniLM, and what embedding a batch in parts saves.

Run `python benchmarks/step.py`. Prints one table and writes results/step.json; medians of repetitions in turn.
"""

import os
import sys
from pathlib import Path

import torch
from torch import nn

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks.timing import median_times  # noqa: E402
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

BATCH, DIMENSION, MEMORY = 128, 384, 8_192


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
    graph_loss, remembering = GLoss(2), GLoss(2, memory_size=MEMORY)
    for _ in range(MEMORY // BATCH):
        remembering(torch.randn(BATCH, DIMENSION), labels)
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
        "memory": lambda: remembering(embeddings, labels).backward(),
    }
    return median_times(tasks, rounds=5), source


def main() -> None:
    quiet_libraries()
    step, source = share_of_a_step()
    share, split = step["graph"] / step["step"], step["split_step"] / step["step"]
    memory = step["memory"] / step["step"]
    print(f"{torch.get_num_threads()} threads, medians; training step of MiniLM, B = {BATCH}, {source}")
    print(f"  cross-entropy                    {1e3 * step['step']:8.1f} ms")
    print(f"  the same in parts by length      {1e3 * step['split_step']:8.1f} ms   {split:.2f} of it")
    print(f"  GLoss                            {1e3 * step['graph']:8.2f} ms   {share:.4f} of the first (bound 0.01)")
    print(
        f"  GLoss with a memory of {MEMORY:<9} {1e3 * step['memory']:8.2f} ms   {memory:.4f} of the first (bound 0.02)"
    )
    figures = {"training_step": step | {"texts": source}, "share": share, "split": split, "memory": memory}
    write_json(ROOT / "results" / "step.json", figures | {"environment": describe_environment(0, "cpu")})


if __name__ == "__main__":
    main()
