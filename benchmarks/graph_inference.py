"""What the graph of the training documents adds to the head of a fine-tuned run.

Run `GRAPHLOSS_DATA=FOLDER python benchmarks/graph_inference.py`. Trains MiniLM with cross-entropy and with G-Loss,
three seeds, and scores the head alone and with the graph; writes a row into results/graph_inference.json after each
run, and leaves out those that stand there: to be stopped and started at will. Beside them TF-IDF with a linear support
vector machine, its strength chosen on the validation documents.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pyarrow.parquet
from scipy.stats import binomtest

from graphloss.data.splits import read_splits
from graphloss.run.documents import LabelledSplits
from graphloss.systems.linear_words import tfidf_svm

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "results" / "graph_inference.json"
FLAGS = "--encoder minilm --head linear --head_start frozen --learning_rate 1e-4 --num_train_epochs 2 --floor no"
DATA = ("ohsumed", "20ng", "mr", "r8")
RUNS = [(data, loss, seed) for seed in (1, 2, 3) for data in DATA for loss in ("gloss", "ce")]


def train(data: str, loss: str, seed: int, output: Path) -> dict:
    flags = f"--data {data} --loss {loss} --seed {seed} {FLAGS} --output_dir {output}"
    print("graphloss train", flags, flush=True)
    resumed = ["--resume"] if (output / "config.yaml").exists() else []
    start = time.perf_counter()
    subprocess.run([sys.executable, "-m", "graphloss", "train", *flags.split(), *resumed], check=True)
    return scores_of(output) | {"data": data, "loss": loss, "seed": seed, "seconds": time.perf_counter() - start}


def scores_of(output: Path) -> dict:
    """What a finished run says: scores, the mixture, and how many test documents the graph corrects and spoils."""
    table = pyarrow.parquet.read_table(output / "predictions.parquet").to_pydict()
    names = ("split", "label", "prediction", "graph_prediction")
    split, label, head, graph = (np.asarray(table[name]) for name in names)
    right, right_with_graph = (head == label)[split == "test"], (graph == label)[split == "test"]
    corrected, spoiled = int((right_with_graph & ~right).sum()), int((right & ~right_with_graph).sum())
    mixture = json.loads((output / "index" / "mixture.json").read_text())
    return {
        "metrics": json.loads((output / "metrics.json").read_text()),
        "corrected": corrected,
        "spoiled": spoiled,
        "p_value": float(binomtest(corrected, max(corrected + spoiled, 1)).pvalue),  # McNemar's test, exact
        "mixture": mixture,
        "environment": json.loads((output / "environment.json").read_text()),
    }


def word_machine(data: str) -> dict:
    """TF-IDF and a linear support vector machine, as `graphloss train --system tfidf-svm` has it."""
    splits = LabelledSplits.of(read_splits(data=data), print)
    right = tfidf_svm(splits)["test"].argmax(axis=1) == np.asarray(splits.ids["test"])
    return {"data": data, "loss": "tf-idf", "seed": 0, "accuracy": float(right.mean())}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output_dir", type=Path, default=ROOT / "runs" / "graph_inference")
    parser.add_argument("--only", nargs="*", default=[], help="Data sets; all by default.")
    parser.add_argument("--keep", action="store_true", help="Keep the run directories.")
    flags = parser.parse_args()
    rows = json.loads(RESULTS.read_text()) if RESULTS.exists() else []
    for data, loss, seed in [*((data, "tf-idf", 0) for data in DATA), *RUNS]:
        done = any((row["data"], row["loss"], row["seed"]) == (data, loss, seed) for row in rows)
        if done or (flags.only and data not in flags.only):
            continue
        if not os.environ.get("GRAPHLOSS_DATA"):
            print("GRAPHLOSS_DATA names no folder: the data sets come from the hub", flush=True)
        output = flags.output_dir / f"{data}-{loss}-{seed}"
        row = word_machine(data) if loss == "tf-idf" else train(data, loss, seed, output)
        rows.append(row)
        RESULTS.write_text(json.dumps(rows, indent=2) + "\n")
        if loss == "tf-idf":
            continue
        head, graph = row["metrics"]["test"]["accuracy"], row["metrics"]["graph"]["test"]["accuracy"]
        print(f"{data:8} {loss:6} seed {seed}: head {100 * head:.2f}  with the graph {100 * graph:.2f}", flush=True)
        if not flags.keep:
            shutil.rmtree(output)


if __name__ == "__main__":
    main()
