"""Writes the tables in the README and in docs/ from the files under results/; `--check` only compares."""

import json
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
START, END = "<!-- {name}: made by benchmarks/tables.py -->", "<!-- /{name} -->"
TIMED = {
    "gloss": "GLoss",
    "products": "three u x B x d products",
    "plain": "released recipe, dense float64",
    "supcon": "SupConLoss",
    "triplet": "TripletMarginLoss",
    "batch_all": "BatchAllTripletLoss",
}
LOSSES = {"ce": "cross-entropy", "gloss": "G-Loss + cross-entropy"}


def result(name: str) -> list | dict:
    return json.loads((ROOT / "results" / f"{name}.json").read_text())


def mr_table() -> str:
    lines = ["| MR test set, all-MiniLM-L6-v2, one seed | stock head | linear head |", "|---|---|---|"]
    scores = {(row["loss"], row["head"]): row["metrics"]["test"] for row in result("mr")}
    for loss, name in LOSSES.items():
        cells = [
            f"{100 * scores[loss, head]['accuracy']:.1f} / {100 * scores[loss, head]['macro_f1']:.1f}"
            for head in ("stock", "linear")
        ]
        lines.append(f"| {name} | {cells[0]} | {cells[1]} |")
    documents = scores["ce", "stock"]["n"]
    half_width = 1.96 * (0.83 * 0.17 / documents) ** 0.5
    lines += [
        "",
        f"Accuracy / macro-F1 in %, {documents} documents: a 95 % interval is ±{100 * half_width:.1f} points wide.",
    ]
    return "\n".join(lines)


def milliseconds(seconds: float) -> str:
    return f"{1e3 * seconds:,.2f}" if seconds < 0.1 else f"{1e3 * seconds:,.0f}"


def graph_loss_table() -> str:
    rows = result("graph_loss")["rows"]
    sizes = sorted(rows, key=int)
    lines = ["| forward + backward, ms | " + " | ".join(f"{int(size):,}" for size in sizes) + " |"]
    lines.append("|---" * (len(sizes) + 1) + "|")
    for name, text in TIMED.items():
        cells = [milliseconds(rows[size][name]) if name in rows[size] else "" for size in sizes]
        lines.append(f"| {text} | " + " | ".join(cells) + " |")
    cells = [f"{rows[size]['extra_bytes'] / 1e6:,.0f}" if "extra_bytes" in rows[size] else "" for size in sizes]
    lines.append("| GLoss, peak memory beyond embeddings and gradient, MB | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def bounds_table() -> str:
    lines = ["| promised | measured | at most |", "|---|---|---|"]
    for entry in result("graph_loss")["bounds"]:
        lines.append(f"| {entry['text']} | {entry['value']:.3g} | {entry['bound']:.3g} |")
    return "\n".join(lines)


def step_table() -> str:
    figures = result("step")
    step = figures["training_step"]
    return "\n".join(
        [
            "| two CPU cores, medians of repetitions in turn | ms | share |",
            "|---|---|---|",
            f"| cross-entropy step of MiniLM on {step['texts']}, batch 128 | {1e3 * step['step']:.0f} | 1 |",
            f"| the same, embedded in parts of like length | {1e3 * step['split_step']:.0f} | {figures['split']:.2f} |",
            f"| GLoss beside it | {1e3 * step['graph']:.1f} | {figures['share']:.4f} |",
            f"| GLoss with a memory of 8,192 | {1e3 * step['memory']:.1f} | {figures['memory']:.4f} |",
        ]
    )


def demo_table() -> str:
    lines = ["| demo: which package is a docstring from? | accuracy | macro-F1 |", "|---|---|---|"]
    for name, scores in result("demo").items():
        lines.append(f"| {name} | {100 * scores['accuracy']:.1f} | {100 * scores['macro_f1']:.1f} |")
    return "\n".join(lines)


TABLES = {
    "mr": mr_table,
    "step": step_table,
    "demo": demo_table,
    "graph-loss": graph_loss_table,
    "bounds": bounds_table,
}


def filled(text: str) -> str:
    """The text with the table of each pair of markers made anew."""
    for name, table in TABLES.items():
        start, end = START.format(name=name), END.format(name=name)
        if start in text:
            before, _, rest = text.partition(start)
            text = before + start + "\n" + table() + "\n" + end + rest.partition(end)[2]
    return text


def main() -> int:
    stale = []
    for name in ("README.md", "docs/results.md", "docs/log.md"):
        path = ROOT / name
        text = path.read_text()
        if filled(text) != text:
            stale.append(name)
            if "--check" not in sys.argv:
                path.write_text(filled(text))
    if stale and "--check" in sys.argv:
        print(f"not what results/ says: {', '.join(stale)}; run python benchmarks/tables.py")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
