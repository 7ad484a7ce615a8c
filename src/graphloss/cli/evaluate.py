"""graphloss evaluate"""

import json

import numpy as np

from graphloss.cli.arguments import Parser
from graphloss.cli.quiet import quiet_libraries
from graphloss.data.documents import label_ids
from graphloss.data.files import Columns, read_documents


def run(arguments: list[str]) -> int:
    """Print the scores of a trained classifier on the labelled texts of a file, as JSON."""
    (flags,) = _parser().parse(arguments)
    columns = Columns(flags.text_column, flags.label_column, flags.text_pair_column)
    documents = read_documents(flags.data, columns)
    from graphloss.evaluation.metrics import classification_metrics
    from graphloss.inference.classifier import TrainedClassifier

    quiet_libraries()
    classifier = TrainedClassifier.load(flags.model)
    labels = np.asarray(label_ids(documents, classifier.names))
    print(json.dumps(classification_metrics(classifier.predict_proba(documents, flags.batch_size), labels), indent=2))
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
    parser.add_argument("--batch_size", type=int, default=64, help="Texts embedded at once.")
    return parser
