"""How well wrong labels are found, against cleanlab's score, on the same embeddings.

Run `GRAPHLOSS_DATA=FOLDER python benchmarks/audit.py`. Frozen MiniLM, at most 4,000 training documents of a set, five
seeds, 10 % and 20 % of the labels made wrong: uniformly, or as a weak classifier mistakes them. The score of cleanlab
is its self-confidence with logistic regression, scikit-learn's defaults, in five folds. Both are timed as they come,
and once more with one thread each, for the threads of scikit-learn's linear algebra may hinder each other. Writes
results/audit.json.
"""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from cleanlab.rank import get_self_confidence_for_each_label
from noise import flip_as_mistaken, flip_uniformly
from report import Bound, State, arguments, conclude
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import average_precision_score
from sklearn.model_selection import StratifiedKFold, cross_val_predict
from threadpoolctl import threadpool_limits

from graphloss.cli.output import quiet_libraries
from graphloss.data.documents import Documents, label_ids, label_names
from graphloss.data.files import Columns
from graphloss.data.splits import read_all
from graphloss.inference.audit import audit
from graphloss.inference.classifier import TrainedClassifier
from graphloss.inference.index import Index
from graphloss.models.encoder import load_encoder

ROOT = Path(__file__).parents[1]
DATA = ("20ng", "ohsumed", "mr", "r8")
MOST, SEEDS, RATES = 4_000, 5, (0.1, 0.2)


def documents_of(data: str) -> tuple[Documents, np.ndarray, torch.Tensor]:
    """At most 4,000 training documents, their classes and their embeddings, which are kept for the next time."""
    train = read_all(data, Columns())["train"]
    chosen = np.sort(np.random.default_rng(0).permutation(len(train))[:MOST])
    documents = train.take(chosen.tolist())
    file = ROOT / "runs" / "embeddings" / f"{data}.npy"
    if not file.exists():
        file.parent.mkdir(parents=True, exist_ok=True)
        encoder = TrainedClassifier.untouched(load_encoder("minilm"), max_length=128)
        np.save(file, encoder.answer(documents).embeddings.numpy())
    return documents, np.asarray(label_ids(documents, label_names(documents))), torch.from_numpy(np.load(file))


def self_confidence(embeddings: np.ndarray, labels: np.ndarray) -> np.ndarray:
    folds = StratifiedKFold(5, shuffle=True, random_state=0)
    predicted = cross_val_predict(
        LogisticRegression(max_iter=1_000), embeddings, labels, cv=folds, method="predict_proba"
    )
    return get_self_confidence_for_each_label(labels, predicted)


def timed(score: Callable[[], np.ndarray], wrong: np.ndarray) -> dict[str, float]:
    """Average precision of a suspicion, and the time that it took."""
    start = time.perf_counter()
    suspicion = score()
    seconds = time.perf_counter() - start
    return {"average_precision": float(average_precision_score(wrong, suspicion)), "seconds": seconds}


def compare(data: str, kind: str, rate: float, seed: int) -> dict[str, Any]:
    documents, labels, embeddings = documents_of(data)
    unit = torch.nn.functional.normalize(embeddings).numpy()
    given = flip_uniformly(labels, rate, seed) if kind == "uniform" else flip_as_mistaken(labels, rate, seed, unit)
    names = [str(label) for label in range(int(labels.max()) + 1)]
    without_texts = Documents([""] * len(documents))

    noise: list[float] = []

    def ours(texts: Documents) -> np.ndarray:
        index, _ = Index.build(texts, given.tolist(), names, embeddings)
        judged = audit(index)
        noise.append(judged.noise)
        return judged.score

    wrong = given != labels
    found = {
        "ours": timed(lambda: ours(without_texts), wrong),
        "cleanlab": timed(lambda: -self_confidence(unit, given), wrong),
    }
    with threadpool_limits(1):
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        found["ours_one_thread"] = timed(lambda: ours(without_texts), wrong)
        found["cleanlab_one_thread"] = timed(lambda: -self_confidence(unit, given), wrong)
        torch.set_num_threads(threads)
    if seed == 0:  # words take far longer, and are not what is compared
        found["with_words"] = timed(lambda: ours(documents), wrong)
    return found | {"noise": noise[0]}


def summary(runs: list[dict[str, Any]]) -> dict[str, float]:
    rows: dict[str, float] = {"noise": float(np.mean([run["noise"] for run in runs]))}
    for name in ("ours", "cleanlab", "ours_one_thread", "cleanlab_one_thread", "with_words"):
        made = [run[name] for run in runs if name in run]
        rows[name] = float(np.mean([each["average_precision"] for each in made]))
        rows[f"{name}_seconds"] = float(np.median([each["seconds"] for each in made]))
    return rows


def main() -> None:
    options = arguments(__doc__ or "", resumes=True).parse_args()
    quiet_libraries()
    state = State(options.state)
    seeds = range(1 if options.quick else SEEDS)
    cells = {
        f"{data} {kind} {rate}": summary(
            [
                state.once(f"{data} {kind} {rate} {seed}", lambda a=(data, kind, rate, seed): compare(*a))
                for seed in seeds
            ]
        )
        for data in DATA
        for kind in ("uniform", "mistaken")
        for rate in RATES
    }
    gains = {name: cell["ours"] - cell["cleanlab"] for name, cell in cells.items()}

    def time_share(threads: str = "") -> float:
        ours, theirs = (
            sum(cell[f"{name}{threads}_seconds"] for cell in cells.values()) for name in ("ours", "cleanlab")
        )
        return ours / theirs

    bounds = [
        Bound("worst cell: points above cleanlab's score", 100 * min(gains.values()), 0.0, at_least=True),
        Bound("mean: points above cleanlab's score", 100 * float(np.mean(list(gains.values()))), 3.0, at_least=True),
        Bound("time, share of cleanlab's", time_share(), 1 / 3),
        Bound("time, share of cleanlab's, one thread each", time_share("_one_thread"), 1 / 3),
    ]
    for name, cell in cells.items():
        figures = [f"{100 * cell[each]:.1f}" for each in ("ours", "cleanlab", "with_words")]
        print(f"{name:24}" + "".join(f"{figure:>8}" for figure in figures) + f"   noise {cell['noise']:.3f}")
    conclude("audit", {"cells": cells}, bounds, options)


if __name__ == "__main__":
    main()
