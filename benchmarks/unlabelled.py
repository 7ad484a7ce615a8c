"""Whether unlabelled documents in the batch graphs help where labels are few.

Run `GRAPHLOSS_DATA=FOLDER python benchmarks/unlabelled.py`. For each data set and seed, 16 training documents a class
keep their label; MiniLM is fine-tuned with G-Loss, with and without the other training documents (at most 4,000) as
unlabelled ones, for as many steps, each with as many labelled documents. Writes a row into results/unlabelled.json
after each pair, and leaves out those that stand there: to be stopped and started at will.
"""

import argparse
import json
import shutil
from pathlib import Path

import numpy as np

from graphloss.data.benchmarks import BENCHMARKS
from graphloss.data.documents import Documents, label_ids, label_names
from graphloss.data.files import Columns
from graphloss.data.splits import Splits, read_all
from graphloss.data.unlabelled import add_unlabelled
from graphloss.run import RunConfig, run_training
from graphloss.training.config import DataConfig, GLossConfig, GraphConfig, ModelConfig, TrainingConfig
from graphloss.training.run_directory import describe_environment

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "results" / "unlabelled.json"
DATA = ("mr", "r8", "ohsumed", "20ng")
SEEDS = (1, 2, 3, 4, 5)
PER_CLASS, UNLABELLED, TESTED = 16, 4_000, 1_500
BATCH, STEPS = 64, 24


def few_labels(found: dict[str, Documents], seed: int) -> tuple[Splits, Documents]:
    """Splits with few labels, and the documents that lost theirs."""
    train = found["train"]
    generator = np.random.default_rng(seed)
    order = generator.permutation(len(train))
    ids = np.asarray(label_ids(train, label_names(train)))[order]
    rank = np.array([np.count_nonzero(ids[:row] == label) for row, label in enumerate(ids)])
    labelled, others = order[rank < PER_CLASS], order[rank >= PER_CLASS][:UNLABELLED]
    tested = generator.permutation(len(found["test"]))[:TESTED]
    splits = Splits(train.take(labelled.tolist()), found["validation"], found["test"].take(tested.tolist()))
    return splits, train.take(others.tolist())


def run(splits: Splits, share: float, seed: int, output: Path, settings: dict) -> dict[str, float]:
    config = RunConfig(
        data=DataConfig(cache_dir="none"),
        model=ModelConfig(encoder="minilm", head="linear", head_start="frozen", max_length=64),
        gloss=GLossConfig(unlabelled_share=share, **settings),
        graph=GraphConfig(index=False, floor=False),
        training=TrainingConfig(
            output_dir=str(output),
            seed=seed,
            max_steps=STEPS,
            per_device_train_batch_size=round(BATCH / (1.0 - share)),
            learning_rate=1e-4,
            save_strategy="no",
            eval_strategy="no",
        ),
    )
    scores = run_training(config, splits, overwrite=True)["test"]
    shutil.rmtree(output)
    return scores


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", nargs="*", default=list(DATA), help="Data sets; all by default.")
    parser.add_argument("--seeds", nargs="*", type=int, default=list(SEEDS))
    parser.add_argument("--settings", type=json.loads, default={}, help="JSON of further fields of GLossConfig.")
    parser.add_argument("--output", type=Path, default=RESULTS)
    flags = parser.parse_args()
    rows = json.loads(flags.output.read_text()) if flags.output.exists() else []
    for seed in flags.seeds:
        for data in (name for name in BENCHMARKS if name in flags.only):
            if any((row["data"], row["seed"]) == (data, seed) for row in rows):
                continue
            splits, others = few_labels(read_all(data, Columns()), seed)
            mixed = add_unlabelled(splits, others, strict=False, say=print)
            folder = ROOT / "runs" / f"unlabelled-{data}-{seed}"
            without = run(splits, 0.0, seed, folder, flags.settings)
            with_them = run(mixed, 0.5, seed, folder, flags.settings)
            environment = describe_environment(seed, "cpu")
            row = {"data": data, "seed": seed, "without": without, "with": with_them, "environment": environment}
            rows.append(row)
            flags.output.write_text(json.dumps(rows, indent=2) + "\n")
            print(
                f"{data:8} seed {seed}: {100 * without['accuracy']:.2f} -> {100 * with_them['accuracy']:.2f}",
                flush=True,
            )


if __name__ == "__main__":
    main()
