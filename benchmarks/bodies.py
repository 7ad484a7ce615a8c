"""20NG without its headers: of each document, what follows the first empty line, in the published splits.

Run `GRAPHLOSS_DATA=FOLDER python benchmarks/bodies.py`; seconds. Writes runs/bodies/20ng-bodies for plans/windows.yaml.
Each document of 20NG begins with lines such as From and Organization, which fill much of a short window and tell who
wrote it.
"""

from pathlib import Path

from graphloss.data.files import Columns
from graphloss.data.splits import read_all
from graphloss.data.writing import write_table

FOLDER = Path("runs/bodies/20ng-bodies")


def body(text: str) -> str:
    """What follows the first empty line; all of it where there is none, or nothing follows."""
    return text.partition("\n\n")[2].strip() or text


def main() -> None:
    FOLDER.mkdir(parents=True, exist_ok=True)
    for split, documents in read_all("20ng", Columns()).items():
        table = {"text": [body(text) for text in documents.texts], "label": documents.labels}
        write_table(FOLDER / f"{split}.parquet", table)
        print(split, len(documents))


if __name__ == "__main__":
    main()
