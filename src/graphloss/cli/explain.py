"""graphloss explain"""

import json
from typing import Any

from rich.table import Table

from graphloss.cli.arguments import Parser, add_reading
from graphloss.cli.output import note, quiet_libraries, shown
from graphloss.cli.terminal import Terminal
from graphloss.data.documents import Documents
from graphloss.data.files import Columns, read_documents
from graphloss.errors import InputError


def run(arguments: list[str]) -> int:
    """Show for each text the training documents whose labels it received, and their exact shares."""
    (flags,) = _parser().parse(arguments)
    if (flags.text is None) == (flags.input is None):
        raise InputError("give either --text TEXT or --input FILE")
    if flags.text is not None and not flags.text.strip():
        raise InputError("--text is empty")
    columns = Columns(flags.text_column, text_pair=flags.text_pair_column)
    documents = (
        Documents([flags.text]) if flags.input is None else read_documents(flags.input, columns, labels="optional")
    )
    from graphloss.inference.classifier import TrainedClassifier
    from graphloss.inference.explain import explain

    quiet_libraries()
    classifier = TrainedClassifier.load(flags.model, stride=flags.stride, say=note)
    explanations = explain(classifier, documents, top=flags.top, together=flags.together, batch_size=flags.batch_size)
    if flags.json:
        print(shown(json.dumps(explanations, indent=2, ensure_ascii=False), "\\u{:04x}"))
    else:
        console = Terminal()
        for explanation in explanations:
            _show(explanation, console)
    return 0


def _show(explanation: dict[str, Any], console: Terminal) -> None:
    console.print(_short(explanation["text"], 300))
    said = "  ".join(f"{name} {share:.1%}" for name, share in _first(explanation["graph"]))
    head = "  ".join(f"{name} {share:.1%}" for name, share in _first(explanation["head"]))
    console.print(f"-> {explanation['prediction']} ({explanation['probability']:.1%})", style="bold")
    console.print(f"   head:  {head}")
    console.print(f"   graph: {said}{'' if explanation['weight'] else '  (weight 0: not used in predictions)'}")
    if explanation["abstained"]:
        console.print("   abstains: little like it among the training documents")
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), expand=True)
    for heading in ("share", "by embedding", "by words"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("label", no_wrap=True)
    table.add_column("training document", overflow="ellipsis", no_wrap=True, ratio=1)  # what room is left
    for each in explanation["neighbours"]:
        shares = (f"{each[name]:.2%}" for name in ("share", "embedding_share", "word_share"))
        table.add_row(*shares, each["label"] or f"({each['tells']}?)", _short(each["text"], 200))
    table.add_row(f"{explanation['others']:.2%}", "", "", "", "all others")
    console.print(table)
    console.print()


def _first(probabilities: dict[str, float], most: int = 3) -> list[tuple[str, float]]:
    return sorted(probabilities.items(), key=lambda item: -item[1])[:most]


def _short(text: str, length: int) -> str:
    text = " ".join(text.split())
    return text if len(text) <= length else text[: length - 3] + "..."


def _parser() -> Parser:
    parser = Parser(
        "explain",
        description="Show the training documents whose labels a text received from the graph, and their shares.",
    )
    parser.add_argument("--model", required=True, help="Run directory of graphloss train.")
    parser.add_argument("--text", help="A text.")
    parser.add_argument("--input", help="File of texts: .csv, .tsv, .jsonl or .parquet.")
    parser.add_argument("--text_column", default="text", help="Column of the texts.")
    parser.add_argument(
        "--text_pair_column", default="text_pair", help="Column of second texts, read where there is one."
    )
    parser.add_argument("--top", type=int, default=10, help="Training documents shown for each text; 0 for all.")
    parser.add_argument(
        "--together",
        action="store_true",
        help="Let the texts of the file be nodes of one graph: they also hear of labels from each other.",
    )
    parser.add_argument("--json", action="store_true", help="Print everything as JSON.")
    add_reading(parser)
    return parser
