"""graphloss audit"""

from argparse import Namespace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from graphloss.cli.arguments import Parser, add_reading
from graphloss.cli.output import note, quiet_libraries
from graphloss.cli.terminal import Terminal
from graphloss.data.benchmarks import BENCHMARKS
from graphloss.data.documents import Documents, check_classes, label_ids, label_names
from graphloss.data.files import Columns, read_documents
from graphloss.data.writing import check_output, write_table
from graphloss.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor


def run(arguments: list[str]) -> int:
    """Write the labelled texts of a file, the most suspicious label first."""
    (flags,) = _parser().parse(arguments)
    check_output(flags.output)
    given = [name for name in ("model", "encoder", "embeddings") if getattr(flags, name) is not None]
    if len(given) > 1:
        raise InputError(f"--{given[0]} and --{given[1]} both say what the embeddings are; give one")
    columns = Columns(flags.text_column, flags.label_column, flags.text_pair_column)
    documents, others = _read(flags.data, columns)
    check_classes(documents)
    from graphloss.inference.audit import as_table, audit, find_duplicates, votes_against
    from graphloss.inference.index import Index

    quiet_libraries()
    names = label_names(documents)
    labels = label_ids(documents, names)
    index, rows = Index.build(documents, labels, names, _embeddings(flags, documents))
    if len(index) < len(documents):
        note(f"note: {len(documents) - len(index):,} of {len(documents):,} documents have no label and are left out")
    audited = audit(index)
    against = votes_against(index, audited.kernel)
    duplicates = find_duplicates(against, index, others)
    write_table(flags.output, as_table(audited, against, duplicates, index, rows.numpy()))
    first = min(100, len(index))
    console = Terminal(quiet=flags.quiet)
    for line in (
        f"{len(index):,} labels judged; about {audited.noise:.1%} of them look drawn at random",
        f"of the first {first}, about {audited.false_alarms(first):.0f} are expected to be right after all",
        f"{len(duplicates.conflicting):,} have a near-duplicate with another label",
        f"{len(duplicates.elsewhere):,} stand in another split, too",
        f"{flags.output}, the most suspicious first",
    ):
        console.print(line, soft_wrap=True)
    return 0


def _read(data: str, columns: Columns) -> tuple[Documents, dict[str, Documents]]:
    """The documents to judge, and those of the other splits, where there are some."""
    if Path(data).is_dir() or data.lower() in BENCHMARKS:
        from graphloss.data.splits import read_all

        found = read_all(data, columns, allow_unlabelled=True)
        return found.pop("train"), found
    return read_documents(data, columns, allow_unlabelled=True), {}


def _embeddings(flags: Namespace, documents: Documents) -> "Tensor":
    import torch

    if flags.embeddings is not None:
        return torch.from_numpy(_read_array(flags.embeddings, len(documents)))
    from graphloss.inference.classifier import TrainedClassifier

    if flags.model is not None:
        classifier = TrainedClassifier.load(flags.model, stride=flags.stride, say=note)
        return classifier.answer(documents, flags.batch_size).embeddings
    from graphloss.models.encoder import load_encoder

    encoder = load_encoder(flags.encoder or "minilm")
    untouched = TrainedClassifier.untouched(encoder, max_length=flags.max_length, stride=flags.stride, say=note)
    return untouched.answer(documents, flags.batch_size).embeddings


def _read_array(path: str, documents: int) -> np.ndarray:
    try:
        array = np.load(path, allow_pickle=False)
    except (OSError, ValueError) as error:
        raise InputError(f"--embeddings {path} cannot be read as an array of numpy ({error})") from None
    if not isinstance(array, np.ndarray) or array.ndim != 2 or len(array) != documents or array.dtype.kind != "f":
        shape = getattr(array, "shape", "no single array")
        raise InputError(
            f"--embeddings {path} must hold a floating-point row for each of the {documents:,} documents, found {shape}"
        )
    return array


def _parser() -> Parser:
    parser = Parser("audit", description="Rank labelled texts by how strongly all others contradict their label.")
    parser.add_argument(
        "--data",
        required=True,
        help="File of labelled texts; or a folder of splits or a benchmark, whose train is judged.",
    )
    parser.add_argument("--output", required=True, help="File to write: .csv, .tsv, .jsonl or .parquet.")
    parser.add_argument("--model", help="Run directory whose encoder makes the embeddings.")
    parser.add_argument("--encoder", help="Or an encoder as it was published: minilm (default), a folder, a hub name.")
    parser.add_argument("--embeddings", metavar="FILE.npy", help="Or an array of embeddings, a row for each text.")
    parser.add_argument("--text_column", default="text", help="Column of the texts.")
    parser.add_argument("--label_column", default="label", help="Column of the labels.")
    parser.add_argument(
        "--text_pair_column", default="text_pair", help="Column of second texts, read where there is one."
    )
    parser.add_argument("--max_length", type=int, default=128, help="Tokens at which texts are cut, with --encoder.")
    parser.add_argument("--quiet", action="store_true", help="Print nothing but errors.")
    add_reading(parser)
    return parser
