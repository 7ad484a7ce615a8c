"""graphloss predict"""

from pathlib import Path

from graphloss.cli.arguments import Parser, add_reading
from graphloss.cli.output import note, quiet_libraries
from graphloss.data.files import Columns, documents_from, read_table
from graphloss.data.writing import check_output, write_table
from graphloss.errors import InputError

ADDED = ("prediction", "probability", "mass", "abstained")


def run(arguments: list[str]) -> int:
    """Write the prediction and its probability for each text of a file, then the columns of the file."""
    (flags,) = _parser().parse(arguments)
    table = read_table(flags.input)
    columns = Columns(flags.text_column, text_pair=flags.text_pair_column)
    documents = documents_from(table, flags.input, columns, labels="optional")
    taken = [name for name in (ADDED if flags.graph else ADDED[:2]) if name in table.columns]
    if taken:
        raise InputError(f"{flags.input} has a column {taken[0]!r} already; rename it")
    check_output(flags.output)
    if Path(flags.output).resolve() == Path(flags.input).resolve():
        raise InputError("--output is --input; name another file")
    from graphloss.inference.classifier import TrainedClassifier

    quiet_libraries()
    classifier = TrainedClassifier.load(flags.model, stride=flags.stride, say=note)
    if flags.graph:
        answer = classifier.ask_graph(documents, classifier.answer(documents, flags.batch_size))
        probabilities = answer.probabilities
        abstained = answer.mass < classifier.graph.threshold
        extra = {"mass": answer.mass.tolist(), "abstained": abstained.tolist()}
    else:
        probabilities, extra = classifier.predict_proba(documents, flags.batch_size), {}
    predictions = [classifier.names[index] for index in probabilities.argmax(axis=1)]
    added = {"prediction": predictions, "probability": probabilities.max(axis=1).tolist()}
    write_table(flags.output, added | extra | table.columns)
    return 0


def _parser() -> Parser:
    parser = Parser("predict", description="Label the texts of a file with a trained classifier.")
    parser.add_argument("--model", required=True, help="Run directory of graphloss train.")
    parser.add_argument("--input", required=True, help="File of texts: .csv, .tsv, .jsonl or .parquet.")
    parser.add_argument("--output", required=True, help="File to write, in any of these formats.")
    parser.add_argument("--text_column", default="text", help="Column of the texts.")
    parser.add_argument(
        "--text_pair_column", default="text_pair", help="Column of second texts, read where there is one."
    )
    parser.add_argument(
        "--graph",
        action="store_true",
        help="Mix in labels propagated from the training documents; adds the kernel mass to them, and abstained where "
        "it is below what most validation documents have.",
    )
    add_reading(parser)
    return parser
