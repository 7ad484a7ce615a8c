"""Tables of the study: what was promised of it, held against its tables, and SetFit beside it."""

import csv
from math import inf, isnan
from pathlib import Path
from statistics import mean
from typing import Any

from report import Bound

from graphloss.experiments.published import PUBLISHED

SETS = ("mr", "r8", "r52", "ohsumed", "20ng")
TOPICS = SETS[1:]
G_LOSS, CROSS_ENTROPY = "minilm G-Loss", "minilm cross-entropy"
UNTUNED, FITTED = "minilm cross-entropy, as it comes", "minilm cross-entropy, head fitted"
UNLABELLED, FITTED_UNLABELLED = f"{G_LOSS}, rest unlabelled", f"{FITTED}, rest unlabelled"
HEADS = {
    UNTUNED: "cross-entropy",
    CROSS_ENTROPY: "cross-entropy, tuned",
    FITTED: "cross-entropy, tuned, head fitted",
    G_LOSS: "G-Loss + cross-entropy",
    UNLABELLED: "the same, with unlabelled documents",
}
GRAPHS = {
    CROSS_ENTROPY: "cross-entropy, tuned, with the graph",
    G_LOSS: "G-Loss + cross-entropy, with the graph",
    UNLABELLED: "the same, with unlabelled documents",
}
OTHERS = ("minilm SCL", "minilm triplet", "minilm cosine")
WORDS = {"tfidf-svm": "TF-IDF + linear SVM", "textgcn": "TextGCN, sees the test texts"}
BERTGCN = "BertGCN, 110 million weights, sees the test texts, published"
WHOLE = "20ng"  # of which others take all training documents, and the study a part
PROMISED = {"many labels": 0.8, "64 labels a class": 0.0, "16 labels a class": 4.0}  # points over cross-entropy
MANY, FEW = "many labels", "16 labels a class"


class Study:
    """The rows of a bench by table, method and data set.

    Args:
        paths: of its tables.csv, and of what was kept of earlier ones; of a row that several have the last one counts.
    """

    def __init__(self, *paths: Path) -> None:
        """Read them."""
        lines = (path.read_text().splitlines() for path in paths if path.exists())
        rows = [row for each in lines for row in csv.DictReader(each)]
        self.rows = {(row["table"], row["method"], row["data"]): row for row in rows}

    def bounds(self) -> list[Bound]:
        """The promises of which every row is there."""
        found = []
        for table in PROMISED:
            if self.has(table, G_LOSS, CROSS_ENTROPY):
                found += [*self.over_cross_entropy(table), *self.convergence(table)]
            if self.has(table, G_LOSS, CROSS_ENTROPY, UNTUNED):
                found.append(self.over_the_better(table))
            if self.has(table, G_LOSS, CROSS_ENTROPY, FITTED):
                found.append(self.over_fitted(table))
            if self.has(table, G_LOSS, *OTHERS):
                found.append(self.over_others(table))
        if self.has(FEW, UNLABELLED, CROSS_ENTROPY):
            found += self.with_unlabelled()
        return [*found, *self.over_published()] if self.has(MANY, G_LOSS) else found

    def has(self, table: str, *methods: str) -> bool:
        """Whether the methods are finished on all sets."""
        return all((table, method, data) in self.rows for method in methods for data in SETS)

    def of(self, table: str, method: str, name: str, sets: tuple[str, ...] = SETS) -> list[float]:
        """A figure of a method on each set; NaN where it has none."""
        return [float(self.rows[table, method, data][name]) for data in sets]

    def above(self, table: str, name: str) -> list[float]:
        """What G-Loss has more of than cross-entropy, on each set."""
        pairs = zip(self.of(table, G_LOSS, name), self.of(table, CROSS_ENTROPY, name), strict=True)
        return [ours - theirs for ours, theirs in pairs]

    def short(self) -> str:
        """The tables of the README: accuracy and macro-F1 of the head, accuracy with the graph."""
        tables = (table for table in PROMISED if self.has(table, G_LOSS, CROSS_ENTROPY))
        return "\n\n".join("\n".join(self.short_of(table)) for table in tables)

    def short_of(self, table: str) -> list[str]:
        """The lines of one of them."""
        seeds = sorted({int(each) for name in (G_LOSS, CROSS_ENTROPY) for each in self.of(table, name, "seeds")})
        title = f"{table}, test, seeds: {' or '.join(map(str, seeds))}"
        lines = [f"| {title} | {' | '.join(SETS)} |", "|---" * (len(SETS) + 1) + "|"]
        shown = {each for each in HEADS if self.has(table, each)}
        fewer = {each: int(most) for each in shown if (most := max(self.of(table, each, "seeds"))) < seeds[0]}
        if table != MANY:
            shown -= fewer.keys()  # the draw of labels decides: one seed says nothing beside the mean of several
        for method, text in HEADS.items():
            if method in shown:
                pairs = zip(*(self.of(table, method, name) for name in ("accuracy", "macro_f1")), strict=True)
                cells = (f"{100 * accuracy:.1f} / {100 * macro_f1:.1f}" for accuracy, macro_f1 in pairs)
                seeds_of = f", seeds: {fewer[method]}" if method in fewer else ""
                lines.append(f"| {text}{seeds_of} | {' | '.join(cells)} |")
        for method, text in GRAPHS.items():
            if method in shown:
                cells = (f"{100 * accuracy:.1f}" for accuracy in self.of(table, method, "with_graph"))
                lines.append(f"| {text} | {' | '.join(cells)} |")
        return lines + (self.others() if table == MANY else [])

    def others(self) -> list[str]:
        """Lines of systems on words, as measured on all training documents, and of BertGCN as published."""
        rows = {text: [100 * score for score in self.of("systems", name, "accuracy")] for name, text in WORDS.items()}
        rows[BERTGCN] = published("systems", "BertGCN")
        marks = [" (all)" if data == WHOLE else "" for data in SETS]
        lines = (
            (text, (f"{score:.1f}{mark}" for score, mark in zip(scores, marks, strict=True)))
            for text, scores in rows.items()
        )
        return [f"| {text} | {' | '.join(cells)} |" for text, cells in lines]

    def over_cross_entropy(self, table: str) -> list[Bound]:
        """Accuracy and macro-F1."""
        gains, text = self.of(table, G_LOSS, "gain"), f"{table}: over cross-entropy"
        significant = sum(low > 0.0 for low in self.of(table, G_LOSS, "gain_low"))
        return [
            Bound(f"{text}, points of accuracy, mean of the sets", 100 * mean(gains), PROMISED[table], True),
            Bound(f"{text}, points of accuracy, worst set", 100 * min(gains), 0.0, True),
            Bound(f"{text}, points of macro-F1, worst set", 100 * min(self.above(table, "macro_f1")), 0.0, True),
            Bound(f"{text}, sets whose interval is above 0", significant, 3, True),
            Bound(f"{text}, p over data sets", self.of(table, G_LOSS, "p_value", ("all",))[0], 0.01),
        ]

    def over_the_better(self, table: str) -> Bound:
        """Accuracy over cross-entropy, tuned or as it comes, whichever is better on a set; by how much is taken on the
        seeds that both have."""
        pairs = zip(self.of(table, G_LOSS, "gain"), self.of(table, UNTUNED, "gain"), strict=True)
        gains = [ours - max(theirs, 0.0) for ours, theirs in pairs]
        text = f"{table}: over the better of cross-entropy tuned and as it comes, points of accuracy, mean of the sets"
        return Bound(text, 100 * mean(gains), 0.0, True)

    def over_fitted(self, table: str) -> Bound:
        """Accuracy over tuned cross-entropy whose head is fitted as that of G-Loss is: what is left is the loss."""
        text = f"{table}: over cross-entropy with its head fitted, too, points of accuracy, mean of the sets"
        return Bound(text, 100 * self.further(table, G_LOSS, FITTED), 0.0, True)

    def further(self, table: str, ours: str, theirs: str) -> float:
        """How much farther ahead of cross-entropy one method is than another, each on the seeds that it has in common
        with cross-entropy; the mean of the sets."""
        return mean(self.of(table, ours, "gain")) - mean(self.of(table, theirs, "gain"))

    def convergence(self, table: str) -> list[Bound]:
        """How soon it comes near the best of cross-entropy, and how far apart the classes are."""
        steps = zip(*(self.of(table, each, "steps_to_near") for each in (G_LOSS, CROSS_ENTROPY)), strict=True)
        sooner = sum(ours <= 0.7 * (inf if isnan(theirs) else theirs) for ours, theirs in steps)  # NaN: never
        apart = min(self.above(table, "macro_silhouette"))
        return [
            Bound(f"{table}: sets with 99 % of cross-entropy's best in 0.7 of its steps", sooner, len(SETS), True),
            Bound(f"{table}: macro-silhouette over cross-entropy's, worst set", apart, 0.0, True),
        ]

    def over_others(self, table: str) -> Bound:
        """Accuracy over the best of the other losses on each set; by how much each is ahead of cross-entropy is taken
        on the seeds that both have."""
        best = map(max, *(self.of(table, method, "gain") for method in OTHERS))
        gains = [ours - theirs for ours, theirs in zip(self.of(table, G_LOSS, "gain"), best, strict=True)]
        text = f"{table}: over the best of SCL, triplet and cosine, points of accuracy, mean of the sets"
        return Bound(text, 100 * mean(gains), 0.4, True)

    def with_unlabelled(self) -> list[Bound]:
        """Accuracy, with unlabelled documents, of the head and with the graph, over the head of cross-entropy; on the
        seeds that both have. And over cross-entropy with a head that is fitted and taught in the same way."""
        head, graph = (mean(self.of(FEW, UNLABELLED, name)) for name in ("accuracy", "with_graph"))
        gain, text = mean(self.of(FEW, UNLABELLED, "gain")), "points of accuracy, mean of the sets"
        gains = {"unlabelled documents": gain, "the graph and them": gain + graph - head}
        found = [
            Bound(f"{FEW}: with {name}, over cross-entropy, {text}", 100 * each, 4.0, True)
            for name, each in gains.items()
        ]
        if self.has(FEW, FITTED_UNLABELLED):
            text = f"over cross-entropy that has them, its head fitted, {text}"
            rest = 100 * self.further(FEW, UNLABELLED, FITTED_UNLABELLED)
            found.append(Bound(f"{FEW}: with unlabelled documents, {text}", rest, 0.0, True))
        return found

    def over_published(self) -> list[Bound]:
        """Sets on which it is ahead of BertGCN with the graph, and level with G-Loss-O and BERT-base without it."""
        graph = zip(self.of(MANY, G_LOSS, "with_graph", TOPICS), published("systems", "BertGCN", TOPICS), strict=True)
        head = zip(self.of(MANY, G_LOSS, "accuracy"), published("integrated", "BERT-base G-Loss-O + CE"), strict=True)
        ahead, level = (
            sum(100 * ours > theirs for ours, theirs in graph),
            sum(100 * ours >= theirs for ours, theirs in head),
        )
        return [
            Bound(f"{MANY}: sets of topics with the graph above BertGCN, published", ahead, 3, True),
            Bound(f"{MANY}: sets level with G-Loss-O and BERT-base, published", level, 3, True),
        ]


def published(table: str, method: str, sets: tuple[str, ...] = SETS) -> list[float]:
    """The accuracies of a row of a paper, in %."""
    found = PUBLISHED[table]
    cells = dict(zip(found.data, found.rows[method], strict=True))
    return [float(cells[data].split()[0]) for data in sets]


def published_gains() -> str:
    """What the paper's losses gained over its cross-entropy, by encoder: points of accuracy, mean and worst set."""
    lines = ["| published gains, points of accuracy | mean of the sets | worst | best |", "|---|---|---|---|"]
    for encoder in ("BERT-base", "RoBERTa-large", "DistilBERT"):
        base = published("integrated", f"{encoder} CE")
        for loss in ("SCL + CE", "G-Loss-SQRT + CE", "G-Loss-O + CE"):
            own = published("integrated", f"{encoder} {loss}")
            gains = [ours - theirs for ours, theirs in zip(own, base, strict=True)]
            lines.append(f"| {encoder} {loss} | {mean(gains):+.2f} | {min(gains):+.2f} | {max(gains):+.2f} |")
    return "\n".join(lines)


def few_labels_rows(found: dict[str, Any]) -> list[str]:
    """Accuracy and seconds of what was trained on few labels, by data set."""
    methods = {"gloss": "G-Loss", "ce": "cross-entropy", "setfit": "SetFit"}
    lines = [
        f"| test accuracy | seeds | {' | '.join(f'{text} | seconds' for text in methods.values())} |",
        "|---" * (2 + 2 * len(methods)) + "|",
    ]
    for data in dict.fromkeys(row["data"] for row in found["rows"]):
        runs = {
            name: [row for row in found["rows"] if (row["data"], row["method"]) == (data, name)] for name in methods
        }
        cells = [
            f"{100 * mean(row['accuracy'] for row in rows):.1f} | {mean(row['seconds'] for row in rows):,.0f}"
            if rows
            else " | "
            for rows in runs.values()
        ]
        lines.append(f"| {data} | {len(runs['gloss'])} | {' | '.join(cells)} |")
    return lines
