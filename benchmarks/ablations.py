"""One change at a time, on development sets, from G-Loss as the paper has it towards the defaults, and around these:
settings of the package, and ideas that are none.

Run `python benchmarks/development.py` once, then `python benchmarks/ablations.py`; many hours, of one core. Several
processes may share the work: what a finished run came to is kept under results/ablations, and it is not done again; one
that another process is at is left to it. With 16 labels a class and with 2,000 documents; what is said of a change is
the mean difference to the same loss without it, and, of what is no cross-entropy, that to cross-entropy with the same
change where there is one. No document of a benchmark's test split is read. Writes results/ablations.json from what is
kept, beside rows that were there before and are of more seeds; `--only` does nothing else, `--change`, `--regime` and
`--seeds` choose what is trained.
"""

import hashlib
import json
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
from ideas import (
    Agreeing,
    AlikeInBoth,
    Averaged,
    Consistent,
    Distilled,
    Interpolated,
    Projected,
    Taught,
    TwoLayers,
    TwoViews,
    Viewing,
    of,
)
from report import ROOT, arguments, conclude, progress

from graphloss.cli.output import quiet_libraries
from graphloss.data.files import Columns
from graphloss.data.splits import read_all
from graphloss.evaluation.significance import bootstrap_gain
from graphloss.experiments.lease import lease
from graphloss.experiments.outcome import Outcome
from graphloss.run import RunConfig, encoder_run, run_training
from graphloss.training.trainer import GraphLossTrainer

FOLDER, DEVELOPMENT, KEPT = Path("runs/ablations"), Path("runs/development"), ROOT / "results" / "ablations"
SEEDS = (1, 2)
USUAL = {
    "encoder": "minilm",
    "head": "linear",
    "head_end": "trained",  # in all rows, old and new; plans/development.yaml has the fitted one
    "max_length": 64,
    "learning_rate": 1e-4,
    "patience": 0,
    "floor": False,
    "record": False,
    "index": False,
}
START = {"objective": "nll", "graph_weight": 0.3, "bandwidth": "sqrt", "masking": "stratified"}  # before any change
REGIMES: dict[str, dict[str, Any]] = {
    "few": {"labels_per_class": 16, "max_steps": 40, "eval_strategy": "no", "save_strategy": "no"},
    "many": {"num_train_epochs": 3},
}
DATA = {"few": ("mr", "r8", "ohsumed"), "many": ("mr", "ohsumed")}
BOTH = ("ce", "gloss")
GLOSS = ("gloss",)
MANY = ("many",)
DEFAULTS = {"objective": "members", "masking": "folds", "graph_weight": 0.7, "bandwidth": "0.35"}
THE_DEFAULTS = "all members, folds, lambda 0.7, width 0.35"
AS_IT_IS = "as it is"


@dataclass(frozen=True)
class Change:
    """What is changed, and where it is tried."""

    name: str
    settings: dict[str, Any] = field(default_factory=dict)
    losses: tuple[str, ...] = GLOSS
    regimes: tuple[str, ...] = ("few", "many")
    trainer: type[GraphLossTrainer] = GraphLossTrainer
    base: str = AS_IT_IS  # the change it is compared with


TOWARDS = [  # from G-Loss as the paper has it
    Change(AS_IT_IS, losses=("ce", "gloss", "scl")),
    Change("width 0.25", {"bandwidth": "0.25"}),
    Change(THE_DEFAULTS, DEFAULTS),
    Change("all members, folds, lambda 0.7, width 0.25", DEFAULTS | {"bandwidth": "0.25"}),
    Change("all members, folds, lambda 0.9, width 0.35", DEFAULTS | {"graph_weight": 0.9}),
    *(
        Change(f"{THE_DEFAULTS}; learning rate {rate}", DEFAULTS | {"learning_rate": rate})
        for rate in (5e-5, 1.5e-4, 2e-4)
    ),
    Change("lambda 0.7, width 0.25", {"graph_weight": 0.7, "bandwidth": "0.25"}),
    Change("width loo", {"bandwidth": "loo"}),
    Change("rates falling by layer, 0.75", {"layer_decay": 0.75}, BOTH),
    Change("lambda 0.7", {"graph_weight": 0.7}),
    Change("learning rate 5e-5", {"learning_rate": 5e-5}, BOTH),
    Change("width 0.15", {"bandwidth": "0.15"}),
    Change("folds", {"masking": "folds"}),
]


def around(
    name: str,
    settings: dict[str, Any] | None = None,
    losses: tuple[str, ...] = GLOSS,
    regimes: tuple[str, ...] = ("few", "many"),
    trainer: type[GraphLossTrainer] = GraphLossTrainer,
) -> Change:
    """A change of the defaults."""
    return Change(f"defaults, {name}", DEFAULTS | (settings or {}), losses, regimes, trainer, base=THE_DEFAULTS)


AROUND = [
    around("random head, learning rate 2e-4", {"head_start": "random", "learning_rate": 2e-4}, BOTH),
    around("random head, learning rate 3e-4", {"head_start": "random", "learning_rate": 3e-4}, BOTH),
    around("lambda by skill, at most 0.9", {"graph_weighting": "skill", "graph_weight": 0.9}),
    around("encoder as it was, frozen", {"setup": "frozen"}, ("ce",)),
    around("stratified masks", {"masking": "stratified"}),
    around("10 folds", {"labelled_fraction": 0.9}),
    around("lambda 0.5", {"graph_weight": 0.5}),
    around("lambda 0.3", {"graph_weight": 0.3}),
    around("lambda 0.1", {"graph_weight": 0.1}),
    around("width 0.55", {"bandwidth": "0.55"}),
    around("width sqrt", {"bandwidth": "sqrt"}),
    around("weights interpolated with those before", {}, BOTH, trainer=Interpolated),
    around("mean of the weights of the second half", {}, BOTH, trainer=Averaged),
    around("two views of each document", {}, BOTH, trainer=TwoViews),
    around("consistent passes", {}, BOTH, trainer=Consistent),
    around("rates falling by layer, 0.75", {"layer_decay": 0.75}),
    around("rates falling by layer, 0.5", {"layer_decay": 0.5}, BOTH),
    around("learning rate 3e-4", {"learning_rate": 3e-4}, BOTH),
    around("memory of 1,024", {"memory_size": 1024}, regimes=MANY),
    around("memory of 1,024 by a slow teacher", {"memory_size": 1024}, regimes=MANY, trainer=Taught),
    around("standalone", {"setup": "standalone"}, regimes=("few",)),
    around("one batch", {"per_device_train_batch_size": 512}, BOTH, regimes=("few",)),
    around("batches of 512", {"per_device_train_batch_size": 512, "learning_rate": 2e-4}, BOTH, MANY),
    around("graph on a projection", trainer=Projected),
    around("graph on two layers", trainer=TwoLayers),
    around("alike before training, too", trainer=of(AlikeInBoth, "untouched")),
    around("alike by words, too", trainer=of(AlikeInBoth, "words")),
    around("head taught by the graph of each step", {}, BOTH, trainer=of(Distilled, "now")),
    around("head taught by the graph of each epoch", {}, ("ce",), trainer=of(Distilled, "epoch")),
    around("head taught by the graph before training", {}, ("ce",), trainer=of(Distilled, "untouched")),
    around("head taught by the graph of words", {}, ("ce",), trainer=of(Distilled, "words")),
    around("graph gives way to cross-entropy, lambda 0.5", {"graph_weight": 0.5}, trainer=Agreeing),
    around("class-aware batches", {"documents_per_class": 8}, BOTH, MANY),
    around("2 folds", {"labelled_fraction": 0.5}, regimes=MANY),
    around("random masks", {"masking": "random"}, regimes=MANY),
    around("width dicm", {"bandwidth": "dicm"}, regimes=MANY),
    around("width loo", {"bandwidth": "loo"}, regimes=MANY),
    around("local widths", {"bandwidth": "local"}, regimes=MANY),
    around("learned width", {"bandwidth": "learned"}, regimes=MANY),
    around("objective nll", {"objective": "nll"}, regimes=MANY),
    around("objective released", {"objective": "released"}, regimes=MANY),
    around("transition released", {"transition": "released"}, regimes=MANY),
    around("transition column", {"transition": "column"}, regimes=MANY),
    around("first token", {"pooling": "first"}, BOTH, MANY),
    around("random head", {"head_start": "random"}, BOTH, MANY),
    around("random weights", {"encoder": "runs/development/encoders/random"}, BOTH, MANY),
    around("layers in reverse", {"encoder": "runs/development/encoders/reversed"}, BOTH, MANY),
]
CHANGES = {change.name: change for change in TOWARDS + AROUND}


@dataclass(frozen=True)
class Run:
    """One training."""

    regime: str
    change: Change
    loss: str
    data: str
    seed: int

    @property
    def settings(self) -> dict[str, Any]:
        """All of them but where it goes."""
        own = {"data": str(DEVELOPMENT / self.data), "loss": self.loss, "seed": self.seed}
        return {**USUAL, **REGIMES[self.regime], **self.change.settings, **own}

    @property
    def name(self) -> str:
        """Another change or another setting has another."""
        digest = hashlib.sha256(json.dumps([self.change.name, self.settings]).encode()).hexdigest()
        return f"{self.regime}-{self.data}-{self.loss}-{self.seed}-{digest[:6]}"

    @property
    def kept(self) -> Path:
        """Where what it came to is kept."""
        return KEPT / f"{self.name}.json"

    def __str__(self) -> str:
        """For a line of progress."""
        return f"{self.regime}, {self.data}, {self.loss}, seed {self.seed}, {self.change.name}"

    def train(self) -> None:
        """Once; nothing is kept but what it came to."""
        Viewing.TEXTS = tuple(read_all(self.settings["data"], Columns())["train"].texts)
        path = FOLDER / self.name
        with patch.object(encoder_run, "GraphLossTrainer", self.change.trainer):
            run_training(RunConfig.of(START | self.settings | {"output_dir": str(path)}), overwrite=True)
        Outcome.of(path).write(self.kept)
        shutil.rmtree(path)


def all_runs() -> list[Run]:
    """What is to be trained, in the order of the changes."""
    return [
        Run(regime, change, loss, data, seed)
        for change in CHANGES.values()
        for seed in SEEDS
        for regime in change.regimes
        for data in DATA[regime]
        for loss in change.losses
    ]


def right(regime: str, change: Change, loss: str) -> dict[int, dict[str, np.ndarray]]:
    """By seed and data set (n,) 1 where a run was right about a document, else 0; of the seeds that are done."""
    found = {}
    for seed in SEEDS:
        runs = [Run(regime, change, loss, data, seed) for data in DATA[regime]]
        if loss in change.losses and all(run.kept.exists() for run in runs):
            found[seed] = {run.data: Outcome.read(run.kept).right.astype(float) for run in runs}
    return found


def gain(own: dict[int, dict[str, np.ndarray]], base: dict[int, dict[str, np.ndarray]]) -> dict[str, float]:
    """The difference in accuracy of the seeds that both have, its mean over data sets with a 95 % interval over seeds
    and documents, all in points."""
    seeds = [seed for seed in own if seed in base]
    if not seeds:
        return {}
    sets = own[seeds[0]]
    differences = {data: np.stack([own[seed][data] - base[seed][data] for seed in seeds]) for data in sets}
    mean, low, high = bootstrap_gain(differences)
    found = {"mean": mean, "from": low, "to": high}
    by_set = {data: each.mean() for data, each in differences.items()}
    return {name: round(100.0 * float(value), 2) for name, value in (found | by_set).items()}


def row(regime: str, change: Change, loss: str) -> dict[str, Any]:
    """Accuracy by data set, the gain over the same loss as it is, and that over cross-entropy."""
    own = right(regime, change, loss)
    accuracy = {data: np.mean([sets[data].mean() for sets in own.values()]) for data in DATA[regime]} if own else {}
    found = {
        "regime": regime,
        "loss": loss,
        "change": change.name,
        "seeds": len(own),
        "accuracy": {data: round(100.0 * float(value), 2) for data, value in accuracy.items()},
    }
    start, base = CHANGES[AS_IT_IS], CHANGES[change.base]
    if change is not start:
        found["gain"] = gain(own, right(regime, base if loss in base.losses else start, loss))
    if loss != "ce":
        found["over_ce"] = gain(own, right(regime, change if "ce" in change.losses else start, "ce"))
    return found


def rows_beside(earlier: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Of each change what is kept says, or the earlier row where that is of more seeds."""
    known = {(each["regime"], each["change"], each["loss"]): each for each in earlier}
    found = []
    for regime in REGIMES:
        for change in (each for each in CHANGES.values() if regime in each.regimes):
            for loss in change.losses:
                own = row(regime, change, loss)
                found.append(max(own, known.get((regime, change.name, loss), own), key=lambda each: each["seeds"]))
    return found


def main() -> None:
    parser = arguments(__doc__ or "")
    parser.add_argument("--only", action="store_true", help="write what is there; train nothing")
    parser.add_argument("--change", nargs="*", choices=CHANGES, metavar="NAME", default=list(CHANGES))
    parser.add_argument("--regime", nargs="*", choices=REGIMES, default=list(REGIMES))
    parser.add_argument("--seeds", type=int, default=len(SEEDS), help="how many of them")
    options = parser.parse_args()
    quiet_libraries()
    if not DEVELOPMENT.exists() and not options.only:
        parser.error(f"no {DEVELOPMENT}; run python benchmarks/development.py first")
    wanted = [
        run
        for run in all_runs()
        if run.change.name in options.change and run.regime in options.regime and run.seed in SEEDS[: options.seeds]
    ]
    KEPT.mkdir(exist_ok=True)
    for run in [] if options.only else wanted:
        with lease(FOLDER / "leases" / run.name) as held:
            if held and not run.kept.exists():
                run.train()
                progress(f"{run}: {100 * Outcome.read(run.kept).metrics['test']['accuracy']:.2f}")
    file = ROOT / "results" / "ablations.json"
    rows = rows_beside(json.loads(file.read_text())["rows"] if file.exists() else [])
    for each in rows:
        print(each)
    conclude("ablations", {"rows": rows}, [], options)


if __name__ == "__main__":
    main()
