"""Writing tables of documents to files."""

import csv
import json
from pathlib import Path
from typing import Any

from graphloss.data.files import SUFFIXES
from graphloss.errors import InputError


def check_output(path: str | Path) -> None:
    """Refuse a path that `write_table` cannot write to, before any work is done.

    Raises:
        InputError: for an unknown suffix, and where the path is a folder.
    """
    path = Path(path)
    if path.suffix.lower() not in SUFFIXES:
        raise InputError(f"{path}: its format is not known by its name; use one of {', '.join(SUFFIXES)}")
    if path.is_dir():
        raise InputError(f"{path} is a folder where a file is due")


def write_table(path: str | Path, columns: dict[str, list[Any]]) -> None:
    """Write columns to a .csv, .tsv, .jsonl or .parquet file that appears whole.

    Args:
        path: of the file; its folder is made where it is missing.
        columns: of equal length, by name.

    Raises:
        InputError: as `check_output`.
    """
    check_output(path)
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".partial")
    suffix = path.suffix.lower()
    if suffix == ".parquet":
        import pyarrow
        import pyarrow.parquet

        pyarrow.parquet.write_table(pyarrow.table(columns), partial)
    else:
        with partial.open("w", encoding="utf-8", newline="") as file:
            rows = zip(*columns.values(), strict=True)
            if suffix == ".jsonl":
                file.writelines(
                    json.dumps(dict(zip(columns, row, strict=True)), ensure_ascii=False) + "\n" for row in rows
                )
            else:
                writer = csv.writer(file, delimiter="\t" if suffix == ".tsv" else ",", lineterminator="\n")
                writer.writerow(columns)
                writer.writerows(rows)
    partial.replace(path)
