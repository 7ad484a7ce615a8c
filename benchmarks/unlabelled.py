"""Whether unlabelled documents help where labels are few.

Run `GRAPHLOSS_DATA=FOLDER python benchmarks/unlabelled.py`. For each data set and each of five seeds, 16 training
documents a class keep their label, and as many validation documents check what is chosen. Frozen MiniLM with a linear
head and the graph, with and without the other training documents (of 20NG, 4,000 in all) as unlabelled ones. With
`--tuned`, G-Loss fine-tunes the encoder in 24 steps, too, with as many labelled documents a step in both cases, and
unlabelled ones in the batch graphs. Writes results/unlabelled.json, or results/unlabelled_tuned.json; needs --state to
be resumed.
"""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import torch
from report import Bound, State, arguments, conclude

from graphloss.cli.output import quiet_libraries
from graphloss.data.documents import Documents, label_ids, label_names
from graphloss.data.files import Columns
from graphloss.data.splits import Splits, read_all
from graphloss.data.unlabelled import add_unlabelled
from graphloss.evaluation.metrics import classification_metrics
from graphloss.inference.classifier import TrainedClassifier
from graphloss.inference.document_graph import fit_graph
from graphloss.inference.index import Index
from graphloss.inference.votes import smoothed
from graphloss.losses.config import GLossConfig
from graphloss.models.encoder import load_encoder
from graphloss.models.linear_head import fit_linear_head
from graphloss.run import RunConfig, run_training
from graphloss.run.sections import DataConfig, GraphConfig, ModelConfig
from graphloss.training.config import TrainingConfig

ROOT = Path(__file__).parents[1]
DATA = ("mr", "r8", "ohsumed", "20ng")
SEEDS = (1, 2, 3, 4, 5)
PER_CLASS = 16
MOST = {"20ng": 4_000}  # training documents that are taken at all
BATCH, STEPS, TESTED = 64, 24, 1_500
SHARE = 0.25  # of a batch


def few_labels(found: dict[str, Documents], seed: int) -> dict[str, np.ndarray]:
    """Row numbers of the documents that keep their label, lose it, check, and test."""
    generator = np.random.default_rng(seed)
    train = found["train"]
    order = generator.permutation(len(train))
    ids = np.asarray(label_ids(train, label_names(train)))[order]
    rank = np.array([np.count_nonzero(ids[:row] == label) for row, label in enumerate(ids)])
    labelled = order[rank < PER_CLASS]
    checking = generator.permutation(len(found["validation"]))[: len(labelled)]
    others, tested = order[rank >= PER_CLASS], np.arange(len(found["test"]))
    return {"labelled": labelled, "unlabelled": others, "validation": checking, "test": tested}


def splits_of(data: str) -> dict[str, Documents]:
    """The splits of a data set, of the largest one a part."""
    found = read_all(data, Columns())
    size = len(found["train"])
    chosen = np.sort(np.random.default_rng(0).permutation(size)[: MOST.get(data, size)])
    return found | {"train": found["train"].take(chosen.tolist())}


def embeddings_of(data: str, found: dict[str, Documents]) -> dict[str, torch.Tensor]:
    """Embeddings of frozen MiniLM, kept for the next time."""
    folder = ROOT / "runs" / "embeddings" / data
    folder.mkdir(parents=True, exist_ok=True)
    encoder = None
    for split, documents in found.items():
        if not (folder / f"{split}.npy").exists():
            encoder = encoder or TrainedClassifier.untouched(load_encoder("minilm"), max_length=128)
            np.save(folder / f"{split}.npy", encoder.answer(documents).embeddings.numpy())
    return {split: torch.from_numpy(np.load(folder / f"{split}.npy")) for split in found}


def frozen(data: str, seed: int) -> dict[str, float]:
    """Test accuracy of the head, and of head and graph without and with unlabelled documents."""
    found = splits_of(data)
    embeddings, rows = embeddings_of(data, found), few_labels(found, seed)
    names = label_names(found["train"])
    ids = {split: np.asarray(label_ids(documents, names)) for split, documents in found.items()}
    head = fit_linear_head(
        embeddings["train"][rows["labelled"]], torch.from_numpy(ids["train"][rows["labelled"]]), len(names)
    )
    test, truth = head.logits(embeddings["test"]), ids["test"]
    scores = {"head": classification_metrics(torch.softmax(test.double(), dim=1).numpy(), truth)["accuracy"]}
    for name, others in (("without", rows["unlabelled"][:0]), ("with", rows["unlabelled"])):
        chosen = np.concatenate([rows["labelled"], others])
        labels = [*ids["train"][rows["labelled"]].tolist(), *[-100] * len(others)]
        points = embeddings["train"][chosen]
        logits = head.logits(points)
        index, _ = Index.build(
            found["train"].take(chosen.tolist()), labels, names, points, opinions=torch.softmax(logits, dim=1)
        )
        index = smoothed(index)
        checking = rows["validation"]
        graph = fit_graph(
            index,
            validation=index.views(found["validation"].take(checking.tolist()), embeddings["validation"][checking]),
            logits=head.logits(embeddings["validation"][checking]),
            labels=torch.from_numpy(ids["validation"][checking]),
            left_out=torch.cat([head.left_out, logits[len(rows["labelled"]) :]]),
        )
        said = graph.propagate(index.views(found["test"], embeddings["test"])).probabilities
        scores[name] = classification_metrics(graph.mixture.mix(test, said).numpy(), truth)["accuracy"]
    return scores


def tuned(data: str, seed: int) -> dict[str, float]:
    """Test accuracy of the head after fine-tuning without and with unlabelled documents in the batch graphs."""
    found = splits_of(data)
    rows = {name: each.tolist() for name, each in few_labels(found, seed).items()}
    tested = np.random.default_rng(seed).permutation(rows["test"])[:TESTED].tolist()
    train = found["train"]
    splits = Splits(
        train.take(rows["labelled"]), found["validation"].take(rows["validation"]), found["test"].take(tested)
    )
    both = add_unlabelled(splits, train.take(rows["unlabelled"]), strict=False, say=print)
    folder = ROOT / "runs" / f"unlabelled-{data}-{seed}"
    return {"without": fine_tune(splits, 0.0, seed, folder), "with": fine_tune(both, SHARE, seed, folder)}


def fine_tune(splits: Splits, share: float, seed: int, output: Path) -> float:
    config = RunConfig(
        data=DataConfig(cache_dir="none"),
        model=ModelConfig(encoder="minilm", head="linear", head_start="frozen", max_length=64),
        gloss=GLossConfig(unlabelled_share=share),
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
    accuracy = run_training(config, splits, overwrite=True)["test"]["accuracy"]
    shutil.rmtree(output)
    return accuracy


def main() -> None:
    parser = arguments(__doc__ or "", resumes=True)
    parser.add_argument("--tuned", action="store_true", help="Fine-tune, instead of leaving the encoder as it is.")
    options = parser.parse_args()
    quiet_libraries()
    state = State(options.state)
    measure = tuned if options.tuned else frozen
    rows: list[dict[str, Any]] = []
    for seed in SEEDS[: 1 if options.quick else None]:
        for data in DATA:
            scores = state.once(f"{measure.__name__} {data} {seed}", lambda a=(data, seed): measure(*a))
            rows.append({"data": data, "seed": seed} | scores)
            print(data, seed, {name: f"{100 * value:.2f}" for name, value in scores.items()}, flush=True)
    gains = {data: [100 * (row["with"] - row["without"]) for row in rows if row["data"] == data] for data in DATA}
    means = {data: float(np.mean(values)) for data, values in gains.items()}
    bounds = [
        Bound("mean gain over the sets, points", float(np.mean(list(means.values()))), 1.0, at_least=True),
        Bound("worst set, points", min(means.values()), 0.0, at_least=True),
    ]
    conclude("unlabelled_tuned" if options.tuned else "unlabelled", {"rows": rows}, bounds, options)


if __name__ == "__main__":
    main()
