"""graphloss evaluate"""

import json
import time

import numpy as np

from graphloss.cli.arguments import Parser, add_reading
from graphloss.cli.output import note, quiet_libraries
from graphloss.data.documents import label_ids
from graphloss.data.files import Columns, read_documents
from graphloss.errors import InputError


def run(arguments: list[str]) -> int:
    """Print the scores of a trained classifier on the labelled texts of a file, as JSON."""
    (flags,) = _parser().parse(arguments)
    if flags.out_of_scope and not flags.graph:
        raise InputError("--out_of_scope measures the kernel mass of the graph; give --graph, too")
    columns = Columns(flags.text_column, flags.label_column, flags.text_pair_column)
    documents = read_documents(flags.data, columns)
    strange = read_documents(flags.out_of_scope, columns, labels="optional") if flags.out_of_scope else None
    from graphloss.evaluation.metrics import classification_metrics, separation, softmax
    from graphloss.inference.classifier import TrainedClassifier

    quiet_libraries()
    classifier = TrainedClassifier.load(flags.model, stride=flags.stride, say=note)
    labels = np.asarray(label_ids(documents, classifier.names))
    if not flags.graph:
        scores = classification_metrics(classifier.predict_proba(documents, flags.batch_size), labels)
        print(json.dumps(scores, indent=2))
        return 0
    graph = classifier.graph
    start = time.perf_counter()
    answers = classifier.answer(documents, flags.batch_size)
    embedded = time.perf_counter()
    told = classifier.ask_graph(documents, answers)
    done = time.perf_counter()
    answered = told.mass >= graph.threshold
    report = {
        "head": classification_metrics(softmax(answers.logits.numpy()), labels),
        "graph": classification_metrics(told.probabilities, labels),
        "weight": graph.mixture.weight,
        "answered": float(answered.mean()),
        "graph_where_answered": classification_metrics(told.probabilities[answered], labels[answered]),
        "seconds": {"encoder": round(embedded - start, 2), "graph": round(done - embedded, 2)},
    }
    if strange is not None:
        elsewhere = classifier.ask_graph(strange, classifier.answer(strange, flags.batch_size))
        report["out_of_scope_auroc"] = {
            "mass": separation(told.mass, elsewhere.mass),
            "probability": separation(told.probabilities.max(axis=1), elsewhere.probabilities.max(axis=1)),
        }
    print(json.dumps(report, indent=2))
    return 0


def _parser() -> Parser:
    parser = Parser("evaluate", description="Score a trained classifier on labelled texts.")
    parser.add_argument("--model", required=True, help="Run directory of graphloss train.")
    parser.add_argument("--data", required=True, help="File of labelled texts: .csv, .tsv, .jsonl or .parquet.")
    parser.add_argument("--text_column", default="text", help="Column of the texts.")
    parser.add_argument("--label_column", default="label", help="Column of the labels.")
    parser.add_argument(
        "--text_pair_column", default="text_pair", help="Column of second texts, read where there is one."
    )
    parser.add_argument(
        "--graph",
        action="store_true",
        help="Score the head alone, and with labels propagated from the training documents mixed in.",
    )
    parser.add_argument(
        "--out_of_scope",
        metavar="FILE",
        help="Texts of no class, with --graph: how well the kernel mass tells them from the others (AUROC).",
    )
    add_reading(parser)
    return parser
