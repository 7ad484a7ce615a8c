"""Reading documents from a file: CSV, TSV, JSONL, Parquet. Every mistake is named with its file, row and remedy."""

import csv
import io
import json
import math
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from graphloss.data.documents import Documents
from graphloss.errors import InputError

SUFFIXES = (".parquet", ".csv", ".tsv", ".jsonl")


@dataclass(frozen=True)
class Columns:
    """Which columns of a file hold what."""

    text: str = "text"
    label: str = "label"
    text_pair: str = "text_pair"


@dataclass(frozen=True)
class Table:
    """A file as columns of values, and the line at which each row starts."""

    columns: dict[str, list[Any]]
    lines: list[int] | None = None


def read_documents(
    path: str | Path, columns: Columns | None = None, *, labels: str = "required", allow_unlabelled: bool = False
) -> Documents:
    """Read documents from a file.

    Args:
        path: a .csv, .tsv, .jsonl or .parquet file with a header or keys.
        columns: the names of its columns. A column of text pairs is read where there is one.
        labels: "required", or "optional" where the file may have no column of labels (prediction).
        allow_unlabelled: take an empty label as "no label" instead of refusing it.

    Raises:
        InputError: for everything that is wrong with the file.
    """
    columns = columns or Columns()
    table = read_table(path)
    return documents_from(table, str(path), columns, labels=labels, allow_unlabelled=allow_unlabelled)


def documents_from(
    table: Table, source: str, columns: Columns, *, labels: str = "required", allow_unlabelled: bool = False
) -> Documents:
    """The documents in a table; see `read_documents`."""
    _check_columns(table, source, columns, labels)
    texts = [_text(value) for value in table.columns[columns.text]]
    pairs = table.columns.get(columns.text_pair)
    names = table.columns.get(columns.label)
    documents = Documents(
        texts=texts,
        labels=None if names is None else [label_name(value) for value in names],
        text_pairs=None if pairs is None else [_text(value) for value in pairs],
        source=source,
        lines=table.lines,
    )
    _check_texts(documents, columns)
    if labels == "required" and not allow_unlabelled:
        _check_labels(documents, columns)
    return documents


def read_table(path: str | Path) -> Table:
    """Read a file into columns, by its suffix.

    Raises:
        InputError: where it is missing, empty, not a file, not UTF-8, or not well formed.
    """
    path = Path(path)
    if path.is_dir():
        raise InputError(f"{path} is a folder where a file is due; name a file in it, or give the folder as --data")
    if not path.exists():
        raise InputError(f"{path} does not exist; check the path")
    if path.suffix.lower() not in SUFFIXES:
        raise InputError(f"{path}: its format is not known by its name; use one of {', '.join(SUFFIXES)}")
    if path.stat().st_size == 0:
        raise InputError(f"{path} is empty; it needs a header and rows")
    readers = {".csv": _read_delimited, ".tsv": _read_delimited, ".jsonl": _read_jsonl, ".parquet": _read_parquet}
    table = readers[path.suffix.lower()](path)
    if not any(table.columns.values()):
        raise InputError(f"{path} has a header but no rows; add documents")
    return table


def label_name(value: Any) -> str | None:
    """A label as it is written: strings, integers and booleans by their text, whole floats as integers."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return None
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return str(value).strip() or None


def _text(value: Any) -> str:
    return "" if value is None or (isinstance(value, float) and math.isnan(value)) else str(value)


def _decoded(path: Path) -> str:
    content = path.read_bytes()
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise InputError(
            f"{path}, line {line}: byte 0x{content[error.start]:02x} is not UTF-8; save the file as UTF-8"
        ) from None


def _read_delimited(path: Path) -> Table:
    delimiter = "\t" if path.suffix.lower() == ".tsv" else ","
    csv.field_size_limit(sys.maxsize)
    reader = csv.reader(io.StringIO(_decoded(path), newline=""), delimiter=delimiter, strict=True)
    header: list[str] = []
    rows: list[list[str]] = []
    lines: list[int] = []
    while True:
        line = reader.line_num + 1
        try:
            fields = next(reader)
        except StopIteration:
            break
        except csv.Error as error:
            raise InputError(
                f"{path}, row {len(rows) + 1} (line {line}): a quote that opens here is not closed properly ({error}); "
                'close it, and double each " inside a quoted field'
            ) from None
        if not fields:
            continue
        if not header:
            header = [name.strip() for name in fields]
            continue
        if len(fields) != len(header):
            raise InputError(
                f"{path}, row {len(rows) + 1} (line {line}): {len(fields)} fields where the header has {len(header)}; "
                f"put fields that contain {'a tab' if delimiter == chr(9) else 'a comma'} in double quotes"
            )
        rows.append(fields)
        lines.append(line)
    return Table({name: [row[index] for row in rows] for index, name in enumerate(header)}, lines)


def _read_jsonl(path: Path) -> Table:
    rows: list[dict[str, Any]] = []
    lines: list[int] = []
    for line, content in enumerate(_decoded(path).split("\n"), start=1):
        if not content.strip():
            continue
        try:
            row = json.loads(content)
        except json.JSONDecodeError as error:
            raise InputError(f"{path}, line {line}: not JSON ({error.msg}); write one JSON object a line") from None
        if not isinstance(row, dict):
            raise InputError(f"{path}, line {line}: a JSON {type(row).__name__}; write one JSON object a line")
        rows.append(row)
        lines.append(line)
    names = dict.fromkeys(name for row in rows for name in row)
    return Table({name: [row.get(name) for row in rows] for name in names}, lines)


def _read_parquet(path: Path) -> Table:
    import pyarrow
    import pyarrow.parquet

    try:
        return Table(pyarrow.parquet.read_table(path).to_pydict())
    except (pyarrow.ArrowException, OSError, ValueError, OverflowError) as error:  # the last two: of a damaged value
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise InputError(f"{path} cannot be read as Parquet ({reason}); write it anew") from None


def _check_columns(table: Table, source: str, columns: Columns, labels: str) -> None:
    wanted = {"text": columns.text} | ({"label": columns.label} if labels == "required" else {})
    for role, name in wanted.items():
        if name not in table.columns:
            found = ", ".join(repr(column) for column in table.columns) or "none"
            raise InputError(f"{source}: no column {name!r}; it has {found}; name the right one with --{role}_column")


def _check_texts(documents: Documents, columns: Columns) -> None:
    for name, texts in ((columns.text, documents.texts), (columns.text_pair, documents.text_pairs or [])):
        empty = [row for row, text in enumerate(texts) if not text.strip()]
        if empty:
            raise InputError(
                f"{documents.place(empty[0])}: the text is empty, in {len(empty)} of {len(texts)} rows of "
                f"{name!r}; fill it in or take the rows out"
            )


def _check_labels(documents: Documents, columns: Columns) -> None:
    missing = [row for row, name in enumerate(documents.labels or []) if name is None]
    if missing:
        raise InputError(
            f"{documents.place(missing[0])}: no label, in {len(missing)} of {len(documents)} rows of "
            f"{columns.label!r}; fill it in, or take such rows as unlabelled documents with --allow_unlabelled"
        )
