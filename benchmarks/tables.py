"""Writes the tables in the README and in docs/ from the files under results/; `--check` only compares."""

import csv
import json
import re
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from graph_tables import audit_rows, graph_inference_table, predict_rows, unlabelled_rows
from study_tables import Study, few_labels_rows, published_gains

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
TRAINED = {
    "ce": "cross-entropy",
    "gloss": "G-Loss + cross-entropy",
    "scl": "supervised contrastive + cross-entropy",
    "triplet": "batch-all triplet + cross-entropy",
    "cosine": "cosine of all pairs + cross-entropy",
}
LOSSES = {"ce": "cross-entropy", "gloss": "G-Loss", "scl": "supervised contrastive"}
STEP_PARTS = {
    "forward": "forward pass, graph included",
    "backward": "backward pass, graph included",
    "optimizer": "clipping and optimizer",
    "step": "whole step",
    "cross_entropy": "step of cross-entropy alone",
}
LOSS_TERMS = {
    "gloss": "GLoss",
    "supcon": "SupConLoss",
    "batch_all": "BatchAllTripletLoss",
    "cosine": "cosine of all pairs, squared error",
}
NOT_MEASURED = "Not measured on this hardware yet."
STUDY = Study(*(ROOT / "results" / name / "tables.csv" for name in ("minilm", "study")))


def result(name: str) -> Any:
    return json.loads((ROOT / "results" / f"{name}.json").read_text())


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


def measured(name: str) -> dict[str, Any] | None:
    """A result that was held against its bounds; None where there is none yet."""
    path = ROOT / "results" / f"{name}.json"
    found = json.loads(path.read_text()) if path.exists() else {}
    return found if "bounds" in found else None


def performance(name: str, rows: Callable[[dict[str, Any]], list[str]]) -> str:
    """The rows of a result, what was promised, the hardware and, where there is one, the figure."""
    found = measured(name)
    if found is None:
        return NOT_MEASURED
    lines = [*rows(found), "", *promises(found["bounds"]), "", hardware(found["environment"])]
    if (ROOT / "docs" / f"{name}.svg").exists():
        lines += ["", f"![The figures of this table]({name}.svg)"]
    return "\n".join(lines)


def promises(bounds: list[dict[str, Any]]) -> list[str]:
    lines = ["| promised | measured | bound | |", "|---|---|---|---|"]
    for entry in bounds:
        side = "at least" if entry["at_least"] else "at most"
        met = "met" if entry["met"] else "missed"
        lines.append(f"| {entry['text']} | {entry['value']:.3g} | {side} {entry['bound']:.3g} | {met} |")
    return lines


def hardware(environment: dict[str, Any]) -> str:
    device = environment["device"] if environment["device"] != "cpu" else environment["processor"]
    versions = environment["versions"]
    threads = "" if environment["threads"] == environment["cores"] else f", {environment['threads']} of them at work"
    return (
        f"{device}, {environment['cores']} cores{threads}; "
        f"torch {versions['torch']}, transformers {versions['transformers']}."
    )


def recipe_rows(found: dict[str, Any]) -> list[str]:
    lines = [
        "| one step of 128 documents, ms | tokens | tokens of the recipe | released recipe | ours, float32 "
        "| times as fast | ours, bf16 | times as fast |",
        "|---" * 8 + "|",
    ]
    for data, row in found["rows"].items():
        cells = [f"{milliseconds(row[name])} | {row['recipe'] / row[name]:.1f}" for name in ("float32", "bf16")]
        tokens = f"{row['tokens']:,} | {row['recipe_tokens']:,}"
        lines.append(f"| {data} | {tokens} | {milliseconds(row['recipe'])} | {' | '.join(cells)} |")
    return [*lines, "", f"Documents: {', '.join(row['texts'] for row in found['rows'].values())}."]


def speed_table() -> str:
    """The table of the README."""
    found = measured("recipe")
    if found is None:
        return NOT_MEASURED
    rows = found["rows"]
    lines = ["| times as fast as the released recipe | " + " | ".join(rows) + " |", "|---" * (len(rows) + 1) + "|"]
    for precision in ("bf16", "float32"):
        cells = [f"{row['recipe'] / row[precision]:.1f}" for row in rows.values()]
        lines.append(f"| a step of G-Loss, {precision} | {' | '.join(cells)} |")
    return "\n".join(lines)


def step_rows(found: dict[str, Any]) -> list[str]:
    rows, terms = found["rows"], found["terms"]
    fastest = min(row["cross_entropy"] for row in rows.values())
    lines = [f"| one step of 128 documents, ms | {' | '.join(rows)} |", "|---" * (len(rows) + 1) + "|"]
    for part, text in STEP_PARTS.items():
        lines.append(f"| {text} | {' | '.join(milliseconds(row[part]) for row in rows.values())} |")
    rates = [f"{row['rate'] / 1e9:,.0f}" for row in rows.values()]
    shares = [f"{100 * row['rate_share']:.0f}" for row in rows.values()]
    lines += [
        f"| 10⁹ floating-point operations a second | {' | '.join(rates)} |",
        f"| % of the rate of a matrix product | {' | '.join(shares)} |",
        "",
        f"Documents: {found['texts']}; {found['tokens']:,} tokens, {found['computed_tokens']:,} with padding.",
        "",
        "| forward and backward pass of a loss alone | ms | share of the fastest step of cross-entropy |",
        "|---|---|---|",
    ]
    for name, text in LOSS_TERMS.items():
        lines.append(f"| {text} | {1e3 * terms[name]:.2f} | {terms[name] / fastest:.5f} |")
    return lines


def batch_rows(found: dict[str, Any]) -> list[str]:
    micro = found["micro_batch_size"]
    lines = [
        f"| documents in the batch | {micro} at once: ms a document | peak memory, GB | all at once: ms a document "
        "| peak memory, GB | largest difference of a gradient | from |",
        "|---" * 7 + "|",
    ]
    for size in sorted({*found["cached"], *found["plain"], *found["gradients"]}, key=int):
        cells = []
        for kind in ("cached", "plain"):
            cost = found[kind].get(size)
            cells += [f"{1e3 * cost['seconds']:.1f}", f"{cost['peak_bytes'] / 1e9:.2f}"] if cost else ["", ""]
        compared = found["gradients"].get(size)
        if compared:
            other = "one pass" if compared["other"] == int(size) else f"passes over {compared['other']:,}"
            cells += [f"{compared['difference']:.1e}", other]
        else:
            cells += ["", ""]
        lines.append(f"| {int(size):,} | {' | '.join(cells)} |")
    turns = found["turns"]
    lines += [
        "",
        f"Documents: {found['texts']}. In turn, on the same ones: {1e3 * turns['cached']:.1f} ms a document in batches "
        f"of {found['large']:,}, {micro} at once, and {1e3 * turns['plain']:.1f} ms in batches of {micro}.",
    ]
    return lines


def epoch_rows(found: dict[str, Any]) -> list[str]:
    epoch, starts, evaluation = found["epoch"], found["starts"], found["evaluation"]
    lines = ["| the steps of one epoch on MR | seconds | times cross-entropy |", "|---|---|---|"]
    for loss, text in TRAINED.items():
        if loss in epoch:
            lines.append(f"| {text} | {epoch[loss]:.1f} | {epoch[loss] / epoch['ce']:.3f} |")
    lines += ["", "| until the first step, seconds | first start | second start | share |", "|---|---|---|---|"]
    for data, row in starts.items():
        lines.append(f"| {data} | {row['first']:.1f} | {row['second']:.1f} | {row['share']:.2f} |")
    lines += [
        "",
        f"| answers for {found['documents']:,} test documents of MR | seconds | share |",
        "|---|---|---|",
        f"| plain loop, padded to 128 tokens, float32 | {evaluation['plain']:.1f} | 1 |",
    ]
    for precision in (name for name in evaluation if name != "plain"):
        share = evaluation[precision] / evaluation["plain"]
        lines.append(f"| ours, {precision} | {evaluation[precision]:.1f} | {share:.3f} |")
    return [*lines, "", f"Documents: {found['texts']}."]


def processes_rows(found: dict[str, Any]) -> list[str]:
    two = found["two"]
    lines = [
        f"Two processes of 64 documents of {found['texts']}, one core each: a step takes {milliseconds(two['step'])} "
        f"ms, of which gathering, the graph and the way back take {milliseconds(two['graph'])} ms.",
        "",
        "| processes of 64 documents | solver | computed by each, ms | received and sent by each, MB | transfers, ms |",
        "|---" * 5 + "|",
    ]
    for count, row in found["many"].items():
        for solver, cost in row.items():
            figures = f"{1e3 * cost['compute']:,.0f} | {cost['moved'] / 1e6:,.0f} | {1e3 * cost['transfers']:.1f}"
            lines.append(f"| {count} | {solver} | {figures} |")
    return lines


def page_rows(found: dict[str, Any]) -> list[str]:
    recording, building, browser = found["recording"], found["building"], found["browser_ms"]
    return [
        "| | |",
        "|---|---|",
        f"| training on MR, s | {recording['training']:.0f} |",
        f"| of which recording, s | {recording['recording']:.1f} |",
        f"| embedding {building['documents']:,} documents of 20NG once, s | {building['embedding']:.0f} |",
        f"| building their page, s | {building['building']:.0f} |",
        f"| size of the page, MB | {building['bytes'] / 1e6:.1f} |",
        f"| first paint, ms | {browser['first_paint']:.0f} |",
        f"| all drawn, ms | {browser['drawn']:.0f} |",
        f"| longest frame: pointer over the map, ms | {browser['frame_hover']:.0f} |",
        f"| search, ms | {browser['frame_search']:.0f} |",
        f"| theme, ms | {browser['frame_theme']:.0f} |",
    ]


def profile_table() -> str:
    found = measured("step")
    if found is None:
        return NOT_MEASURED
    profile = found["profile"]
    lines = [f"| operation of torch, {profile['precision']} | % of a step |", "|---|---|"]
    for name, share in profile["shares"].items():
        lines.append(f"| `{name}` | {100 * share:.1f} |")
    return "\n".join(lines)


def demo_table() -> str:
    lines = ["| demo: which package is a docstring from? | accuracy | macro-F1 |", "|---|---|---|"]
    for name, scores in result("demo").items():
        lines.append(f"| {name} | {100 * scores['accuracy']:.1f} | {100 * scores['macro_f1']:.1f} |")
    return "\n".join(lines)


def bench_tables(name: str) -> str:
    """What a bench wrote, as a part of a longer page."""
    path = ROOT / "results" / name / "tables.md"
    return path.read_text().strip().replace("## ", "### ") if path.exists() else NOT_MEASURED


def bench_grid(name: str) -> str:
    """Test accuracy and macro-F1 of a bench by method and data set, a grid for each of its tables."""
    path = ROOT / "results" / name / "tables.csv"
    if not path.exists():
        return NOT_MEASURED
    rows = [row for row in csv.DictReader(path.read_text().splitlines()) if row["data"] != "all"]
    lines = []
    for table in dict.fromkeys(row["table"] for row in rows):
        lines += [*grid([row for row in rows if row["table"] == table], f"{table}: accuracy / macro-F1"), ""]
    sources = re.findall(r"^\d+ runs?: .*", (path.parent / "tables.md").read_text(), flags=re.MULTILINE)
    return "\n".join([*lines, *sources])


def grid(rows: list[dict[str, str]], title: str) -> list[str]:
    """The lines of one."""
    sets = list(dict.fromkeys(row["data"] for row in rows))
    cells = {
        (row["method"], row["data"]): f"{100 * float(row['accuracy']):.1f} / {100 * float(row['macro_f1']):.1f}"
        for row in rows
    }
    lines = [f"| {title} | {' | '.join(sets)} |", "|---" * (len(sets) + 1) + "|"]
    for method in dict.fromkeys(row["method"] for row in rows):
        lines.append(f"| {method} | {' | '.join(cells.get((method, data), '') for data in sets)} |")
    return lines


def study_promises() -> str:
    """The promises that the study can tell by now."""
    found = [bound._asdict() | {"met": bound.met} for bound in STUDY.bounds()]
    return "\n".join(promises(found)) if found else NOT_MEASURED


def ablations_table(regime: str) -> str:
    """What each change from the defaults did, on development sets."""
    if not (ROOT / "results" / "ablations.json").exists():
        return NOT_MEASURED
    found = result("ablations")
    rows = [row for row in found["rows"] if row["regime"] == regime and row["seeds"]]
    sets = list(rows[0]["accuracy"])
    head = ["change", "loss", "seeds", *sets, "gain (95 % interval)", "over cross-entropy"]
    lines = [f"| {' | '.join(head)} |", "|---" * len(head) + "|"]
    for row in rows:
        scores = [f"{row['accuracy'][data]:.1f}" for data in sets]
        cells = [
            row["change"],
            LOSSES[row["loss"]],
            str(row["seeds"]),
            *scores,
            gain(row, "gain"),
            gain(row, "over_ce"),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join([*lines, "", hardware(found["environment"])])


def gain(row: dict[str, Any], name: str) -> str:
    found = row.get(name)
    return f"{found['mean']:+.2f} ({found['from']:+.2f} to {found['to']:+.2f})" if found else ""


TABLES = {
    "minilm": partial(bench_tables, "minilm"),
    "bertgcn": partial(bench_tables, "bertgcn"),
    "study": partial(bench_tables, "study"),
    "study-promises": study_promises,
    "study-short": STUDY.short,
    "published-gains": published_gains,
    "few_labels": partial(performance, "few_labels", few_labels_rows),
    "departures": partial(bench_tables, "departures"),
    "windows": partial(bench_grid, "windows"),
    "starts": partial(bench_grid, "starts"),
    "development": partial(bench_grid, "development"),
    "ablations-few": partial(ablations_table, "few"),
    "ablations-many": partial(ablations_table, "many"),
    "demo": demo_table,
    "profile": profile_table,
    "speed": speed_table,
    "graph-loss": graph_loss_table,
    "bounds": bounds_table,
    "graph-inference": graph_inference_table,
    "unlabelled": partial(performance, "unlabelled", unlabelled_rows),
    "unlabelled_tuned": partial(performance, "unlabelled_tuned", unlabelled_rows),
    "audit": partial(performance, "audit", audit_rows),
    "predict": partial(performance, "predict", predict_rows),
    "processes": partial(performance, "processes", processes_rows),
    "page": partial(performance, "page", page_rows),
    **{
        name + device: partial(performance, name + device, rows)
        for name, rows in (("recipe", recipe_rows), ("step", step_rows), ("batch", batch_rows), ("epoch", epoch_rows))
        for device in ("", "_cuda")
    },
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
    for path in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))):
        name = path.relative_to(ROOT).as_posix()
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
