"""Cross-entropy and G-Loss on the MR data set, with both heads.

Run `GRAPHLOSS_DATA=FOLDER python benchmarks/mr.py`. Runs the four commands that it prints, leaves out what --output_dir
holds already, and writes results/mr.json.
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
RUNS = [(loss, head) for head in ("stock", "linear") for loss in ("ce", "gloss")]


def train(loss: str, head: str, output: Path) -> None:
    flags = f"--data mr --loss {loss} --head {head} --head_start random --output_dir {output} --overwrite"
    print("graphloss train", flags, flush=True)
    subprocess.run([sys.executable, "-m", "graphloss", "train", *flags.split()], check=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output_dir", type=Path, default=ROOT / "runs" / "mr")
    folder = parser.parse_args().output_dir
    rows = []
    for loss, head in RUNS:
        run = folder / f"{loss}-{head}"
        if not (run / "metrics.json").exists():
            train(loss, head, run)
        metrics = json.loads((run / "metrics.json").read_text())
        environment = json.loads((run / "environment.json").read_text())
        rows.append({"loss": loss, "head": head, "metrics": metrics, "environment": environment})
        scores = metrics["test"]
        print(f"{loss:6} {head:7} accuracy {100 * scores['accuracy']:.2f}  macro-F1 {100 * scores['macro_f1']:.2f}")
    (ROOT / "results" / "mr.json").write_text(json.dumps(rows, indent=2) + "\n")


if __name__ == "__main__":
    main()
