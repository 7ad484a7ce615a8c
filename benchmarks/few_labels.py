"""Sixteen labels a class: G-Loss and cross-entropy with the defaults of the package, and SetFit with its own.

SetFit wants an older transformers, so that it has an environment of its own:

    python -m venv SETFIT
    SETFIT/bin/pip install torch==2.13.0
    SETFIT/bin/pip install setfit==1.1.3 "transformers<5"

Then `GRAPHLOSS_DATA=FOLDER python benchmarks/few_labels.py --setfit SETFIT/bin/python`; hours, nearly all of them
SetFit's, whose pairs grow with the square of the documents. All get the same documents and the same encoder, MiniLM.
Writes results/few_labels.json whenever a run is done, and does not do again what stands there. With --development the
sets of benchmarks/development.py, on which settings may be chosen, and nothing is written.
"""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from statistics import mean
from typing import Any

from report import ROOT, Bound, arguments, conclude, progress

from graphloss.cli.output import quiet_libraries
from graphloss.data.writing import write_table
from graphloss.models.encoder import load_encoder
from graphloss.run import RunConfig, run_training
from graphloss.run.documents import read_documents_of

DATA = ("mr", "r8", "r52", "ohsumed", "20ng")
SEEDS = (1, 2, 3)
PER_CLASS = 16
FOLDER = Path("runs/few_labels")


def settings_of(data: str, seed: int, output: Path) -> dict[str, Any]:
    return {"data": data, "seed": seed, "labels_per_class": PER_CLASS, "record": False, "output_dir": str(output)}


def ours(loss: str) -> Callable[[str, int], dict[str, float]]:
    """What trains with a loss and the defaults of the package."""

    def train(data: str, seed: int) -> dict[str, float]:
        output = FOLDER / f"{Path(data).name}-{seed}-{loss}"
        config = RunConfig.of(settings_of(data, seed, output) | {"loss": loss, "floor": False, "index": False})
        metrics = run_training(config, overwrite=True)
        shutil.rmtree(output)
        return {"accuracy": metrics["test"]["accuracy"], "seconds": metrics["seconds"]}

    return train


def setfit(python: str) -> Callable[[str, int], dict[str, float]]:
    """What trains by SetFit, in the environment of an interpreter."""

    def train(data: str, seed: int) -> dict[str, float]:
        folder = FOLDER / f"{Path(data).name}-{seed}-setfit"
        splits = read_documents_of(RunConfig.of(settings_of(data, seed, folder)), progress)
        folder.mkdir(parents=True, exist_ok=True)
        for name, documents in (("train", splits.train), ("test", splits.test)):
            write_table(folder / f"{name}.parquet", {"text": documents.texts, "label": documents.labels})
        script = Path(__file__).with_name("train_setfit.py")
        done = subprocess.run([python, script, folder, load_encoder("minilm").location], check=False, stdout=sys.stderr)
        if done.returncode:
            raise SystemExit(f"{script.name} ended with status {done.returncode}; is SetFit installed there?")
        return json.loads((folder / "setfit.json").read_text())

    return train


def bounds_of(rows: list[dict[str, Any]]) -> list[Bound]:
    """How much better and sooner G-Loss is than SetFit, on the seeds and the sets where both are done."""
    by_run = {(row["data"], row["seed"], row["method"]): row for row in rows}
    pairs = [(row, by_run[data, seed, "gloss"]) for (data, seed, method), row in by_run.items() if method == "setfit"]
    if not pairs:
        return []
    gains: dict[str, list[float]] = {}
    for other, own in pairs:
        gains.setdefault(other["data"], []).append(100 * (own["accuracy"] - other["accuracy"]))
    time = sum(own["seconds"] for _, own in pairs) / sum(other["seconds"] for other, _ in pairs)
    return [
        Bound("G-Loss above SetFit, points, mean of the sets", mean(map(mean, gains.values())), 1.0, True),
        Bound("seconds of G-Loss, of those of SetFit", time, 1.0),
    ]


def main() -> None:
    parser = arguments(__doc__ or "")
    parser.add_argument("--setfit", required=True, help="Python of the environment that has SetFit.")
    parser.add_argument("--development", action="store_true", help="On development sets; write nothing.")
    parser.add_argument("--data", nargs="*", default=DATA, choices=DATA)
    parser.add_argument("--seeds", type=int, default=len(SEEDS), help="How many of them.")
    options = parser.parse_args()
    options.quick |= options.development
    quiet_libraries()
    methods = {"gloss": ours("gloss"), "ce": ours("ce"), "setfit": setfit(options.setfit)}
    file = ROOT / "results" / "few_labels.json"
    rows = json.loads(file.read_text())["rows"] if file.exists() and not options.quick else []
    done = {(row["data"], row["seed"], row["method"]) for row in rows}
    for data in options.data:
        for seed in SEEDS[: 1 if options.development else options.seeds]:
            source = f"runs/development/{data}" if options.development else data
            for method, train in methods.items():
                if (data, seed, method) in done:
                    continue
                rows.append({"data": data, "seed": seed, "method": method} | train(source, seed))
                print(rows[-1], flush=True)
                conclude("few_labels", {"rows": rows}, bounds_of(rows), options)


if __name__ == "__main__":
    main()
