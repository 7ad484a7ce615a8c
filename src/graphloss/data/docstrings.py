"""A text-classification set out of what every install holds: docstrings, labelled by the package they come from.

The sources are parsed with `ast` and never imported. The names of packages and modules are taken out of the texts, so
that a classifier has to read what a package is about.
"""

import ast
import hashlib
import re
import sysconfig
import warnings
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from graphloss.data.documents import Documents
from graphloss.data.splits import Splits
from graphloss.errors import InputError

SKIPPED = {
    "test",
    "tests",
    "testing",
    "_vendor",
    "vendor",
    "vendored",
    "third_party",
    "site-packages",
    "idlelib",
    "lib2to3",
}
SHORTEST = 100  # characters; less says too little
MOST_OF_A_PACKAGE = 250  # docstrings, so that the few huge packages do not take minutes to read
CANDIDATES = 30  # packages with most source code, which are searched


def docstring_splits(*, classes: int = 12, training: int = 32, validation: int = 24, test: int = 64) -> Splits:
    """Docstrings of the standard library and of the installed packages, as training, validation and test documents.

    Args:
        classes: the packages with most docstrings are taken, at least eight.
        training, validation, test: documents a class. Which split a document belongs to is decided by the hash of its
            text, so that the same text is never in two.

    Raises:
        InputError: where fewer than eight packages have enough docstrings.
    """
    found = {name: sorted(texts, key=_hash) for name, texts in _harvest().items()}
    size = training + validation + test
    large = Counter({name: len(texts) for name, texts in found.items() if len(texts) >= size})
    if len(large) < 8:
        raise InputError(
            f"only {len(large)} installed packages have {size} docstrings; install a few more, such as scipy or pandas"
        )
    chosen = sorted(sorted(large, key=lambda name: (-large[name], name))[:classes])
    pattern = _any_of(set(chosen))
    parts = {}
    bounds = {
        "train": (0, training),
        "validation": (training, training + validation),
        "test": (training + validation, size),
    }
    for split, (first, last) in bounds.items():
        pairs = [(pattern.sub(" ", text), name) for name in chosen for text in found[name][first:last]]
        pairs.sort(key=lambda pair: _hash(pair[0]))
        parts[split] = Documents([text for text, _ in pairs], [name for _, name in pairs], source=f"docstrings {split}")
    return Splits(parts["train"], parts["validation"], parts["test"])


def _harvest() -> dict[str, set[str]]:
    """Distinct docstrings by top-level package; a text that two packages share is left out."""
    owners: dict[str, set[str]] = {}
    for package, files in _packages().items():
        texts: set[str] = set()
        for file in files:
            texts.update(_docstrings(file, package))
            if len(texts) >= MOST_OF_A_PACKAGE:
                break
        for text in texts:
            owners.setdefault(text, set()).add(package)
    found: dict[str, set[str]] = {}
    for text, packages in owners.items():
        if len(packages) == 1:
            found.setdefault(packages.pop(), set()).add(text)
    return found


def _packages() -> dict[str, list[Path]]:
    """The largest top-level packages of the standard library and of what is installed, with their source files in an
    order that is the same everywhere and mixes their parts."""
    paths = sysconfig.get_paths()
    files: dict[str, list[tuple[str, Path]]] = {}
    for root in dict.fromkeys(Path(paths[name]) for name in ("stdlib", "purelib", "platlib")):
        for file in root.rglob("*.py"):
            parts = file.relative_to(root).with_suffix("").parts
            if SKIPPED.isdisjoint(parts) and parts[0] != "graphloss":
                files.setdefault(parts[0], []).append((_hash("/".join(parts)), file))
    size = {package: sum(file.stat().st_size for _, file in members) for package, members in files.items()}
    largest = sorted(size, key=lambda package: (-size[package], package))[:CANDIDATES]
    return {package: [file for _, file in sorted(files[package])] for package in largest}


def _docstrings(file: Path, package: str) -> Iterator[str]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # invalid escapes in other people's sources
            tree = ast.parse(file.read_text(encoding="utf-8"))
    except (SyntaxError, ValueError, OSError, RecursionError):
        return
    names = _any_of({package, *re.split(r"\W+|_", file.as_posix().partition(package)[2])})
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            text = " ".join((ast.get_docstring(node) or "").split())
            text = " ".join(names.sub(" ", text).split())
            if len(text) >= SHORTEST:
                yield text


def _any_of(names: set[str]) -> re.Pattern[str]:
    """Matches the names, in any case, where neither a letter nor a digit joins them."""
    longest_first = sorted((re.escape(name) for name in names if len(name) > 1), key=lambda name: (-len(name), name))
    return re.compile(rf"(?<![A-Za-z0-9])(?:{'|'.join(longest_first)})(?![A-Za-z0-9])", re.IGNORECASE)


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
