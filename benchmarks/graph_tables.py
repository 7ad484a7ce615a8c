"""Tables of what the document graph adds: to predictions, to audits, from unlabelled documents."""

import json
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from study_tables import published

ROOT = Path(__file__).parents[1]
LOSSES = {"ce": "cross-entropy", "gloss": "G-Loss + cross-entropy"}


def rows_of(name: str) -> list[dict[str, Any]]:
    path = ROOT / "results" / f"{name}.json"
    return json.loads(path.read_text()) if path.exists() else []


def spread(values: list[float]) -> str:
    """Mean and standard deviation, in %."""
    wide = f" ± {100 * stdev(values):.2f}" if len(values) > 1 else ""
    return f"{100 * mean(values):.2f}{wide}"


def graph_inference_table() -> str:
    found = rows_of("graph_inference")
    lines = [
        "| test accuracy, MiniLM, 128 tokens | seeds | head alone | with the graph | gain | corrected : spoiled "
        "| TF-IDF + linear SVM | BertGCN, published |",
        "|---" * 8 + "|",
    ]
    words = {row["data"]: row["accuracy"] for row in found if row["loss"] == "tf-idf"}
    for data in words:
        for loss, text in LOSSES.items():
            runs = [row for row in found if (row["data"], row["loss"]) == (data, loss)]
            if not runs:
                continue
            head = [run["metrics"]["test"]["accuracy"] for run in runs]
            graph = [run["metrics"]["graph"]["test"]["accuracy"] for run in runs]
            counted = [run for run in runs if "corrected" in run]
            changed = f"{sum(run['corrected'] for run in counted)} : {sum(run['spoiled'] for run in counted)}"
            cells = [str(len(runs)), spread(head), f"**{spread(graph)}**", f"{100 * (mean(graph) - mean(head)):+.2f}"]
            others = [f"{100 * words[data]:.2f}", f"{published('systems', 'BertGCN', (data,))[0]:.1f}"]
            lines.append(f"| {data}, {text} | {' | '.join([*cells, changed, *others])} |")
    missing = 24 - sum(row["loss"] != "tf-idf" for row in found)
    return "\n".join(lines + (["", f"{missing} of 24 runs are still to be made."] if missing else []))


def audit_rows(found: dict[str, Any]) -> list[str]:
    lines = [
        "| average precision in % | labels flipped | graph and probes | cleanlab's self-confidence | with words, too "
        "| noise, estimated |",
        "|---" * 6 + "|",
    ]
    for name, cell in found["cells"].items():
        data, kind, rate = name.split()
        figures = [f"{100 * cell[each]:.1f}" for each in ("ours", "cleanlab", "with_words")]
        lines.append(f"| {data}, {kind} | {float(rate):.0%} | {' | '.join(figures)} | {cell['noise']:.1%} |")
    return lines


def predict_rows(found: dict[str, Any]) -> list[str]:
    seconds, one = found["seconds"], found["one_of_100000"]
    return [
        "| predictions for the test documents of MR | seconds |",
        "|---|---|",
        f"| transformers.pipeline, default settings | {seconds['pipeline']:.1f} |",
        f"| graphloss predict | {seconds['predict']:.1f} |",
        f"| graphloss predict --graph | {seconds['graph']:.1f} |",
        "",
        "| one document among 100,000 | ms |",
        "|---|---|",
        f"| the encoder's pass | {1e3 * one['pass']:.1f} |",
        f"| its explanation, that pass included | {1e3 * one['explanation']:.1f} |",
    ]


def unlabelled_rows(found: dict[str, Any]) -> list[str]:
    lines = [
        "| test accuracy, 16 labels a class | seeds | head alone | without | with unlabelled documents | gain "
        "| worst seed |",
        "|---" * 7 + "|",
    ]
    for data in dict.fromkeys(row["data"] for row in found["rows"]):
        runs = [row for row in found["rows"] if row["data"] == data]
        gains = [run["with"] - run["without"] for run in runs]
        head = spread([run["head"] for run in runs]) if "head" in runs[0] else ""
        cells = [str(len(runs)), head, *(spread([run[name] for run in runs]) for name in ("without", "with"))]
        lines.append(f"| {data} | {' | '.join(cells)} | {100 * mean(gains):+.2f} | {100 * min(gains):+.2f} |")
    return lines
