"""Files that are not what they should be: an error line each time, never a traceback, a hang or a changed file."""

import gc
import hashlib
import io
import json
import random
import time
from collections.abc import Callable, Iterator
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest
import yaml

from graphloss.cli.main import main
from graphloss.run import SECTIONS
from tests.conftest import sentences
from tests.e2e.in_a_process import start

CASES, IN_PROCESSES = 10_000, 100
LONGEST = 20.0  # seconds
FLAGS = sorted({field.name for kind in SECTIONS for field in fields(kind)} - {"output_dir", "encoder"})
ODD: list[Any] = [
    None, True, False, 0, 1, -1, 1e300, float("nan"), float("inf"), "", "no", "auto", "\x1b[2J", "ä" * 300, "../..",
    "-100", [], [1, "a"], {}, {"a": {"b": 1}}, "2026-01-01", "&", "%s", "{}", "1e400", "null",
]  # fmt: skip


@dataclass(frozen=True)
class Case:
    """A command on a folder of its own.

    Attributes:
        arguments: of `graphloss`.
        folder: whose files it may not change.
    """

    arguments: list[str]
    folder: Path


class Maker:
    """Makes cases.

    Args:
        folder: where.
        run: a run directory with checkpoints.
        seed: of all.
    """

    def __init__(self, folder: Path, run: Path, seed: int) -> None:
        self.folder, self.draw = folder, random.Random(seed)
        files = sorted(path for path in run.rglob("*") if path.is_file())  # in one order on any file system
        self.run = {path.relative_to(run): path.read_bytes() for path in files}
        self.tables = dict(_tables(folder))

    def case(self, number: int) -> Case:
        folder = self.folder / "case"
        folder.mkdir(exist_ok=True)
        for path in sorted(folder.rglob("*"), reverse=True):
            path.unlink() if path.is_file() else path.rmdir()
        kinds: list[Callable[[Path], list[str]]] = [self._data, self._data, self._config, self._plan, self._checkpoint]
        return Case(kinds[number % len(kinds)](folder), folder)

    def _data(self, folder: Path) -> list[str]:
        name, content = self.draw.choice(list(self.tables.items()))
        file = folder / name
        file.write_bytes(self._mutated(content))
        verb = self.draw.choice(("train", "train", "audit"))
        output = str(folder.parent / "output")
        if verb == "audit":
            return ["audit", "--data", str(file), "--encoder", "missing/", "--output", output + ".csv"]
        return ["train", "--train", str(file), "--encoder", "missing/", "--output_dir", output]

    def _config(self, folder: Path) -> list[str]:
        settings = {self.draw.choice(FLAGS): self.draw.choice(ODD) for _ in range(self.draw.randint(1, 3))}
        content = yaml.safe_dump(settings, allow_unicode=True).encode()
        (folder / "config.yaml").write_bytes(self._mutated(content) if self.draw.random() < 0.3 else content)
        (folder / "good.csv").write_bytes(self.tables["good.csv"])
        given = ["--train", str(folder / "good.csv"), "--encoder", "missing/"]
        return ["train", "--config", str(folder / "config.yaml"), *given, "--output_dir", str(folder.parent / "output")]

    def _plan(self, folder: Path) -> list[str]:
        grid = {"data": "nowhere", "seed": [1, 2], "loss": ["ce", "gloss"], "trials": 0, "method": "m", "search": None}
        for _ in range(self.draw.randint(1, 3)):
            grid[self.draw.choice([*grid, "system", "table", *FLAGS])] = self.draw.choice(ODD)
        content = yaml.safe_dump({"grids": [grid]}, allow_unicode=True).encode()
        (folder / "plan.yaml").write_bytes(self._mutated(content) if self.draw.random() < 0.3 else content)
        return ["bench", str(folder / "plan.yaml"), "--output_dir", str(folder.parent / "output"), "--dry_run"]

    def _checkpoint(self, folder: Path) -> list[str]:
        for name, content in self.run.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(content)
        victim = folder / self.draw.choice([name for name in self.run if name.parts[0] != "data"])
        victim.write_bytes(self._mutated(victim.read_bytes()))
        (folder / "good.csv").write_bytes(self.tables["good.csv"])
        given = ["--train", str(folder / "good.csv"), "--encoder", "missing/", "--output_dir", str(folder), "--resume"]
        return ["train", *given]

    def _mutated(self, content: bytes) -> bytes:
        """The content with a few bytes flipped, dropped, doubled, added or cut off."""
        found = bytearray(content)
        for _ in range(self.draw.randint(1, 4)):
            place = self.draw.randrange(len(found) + 1)
            length = min(self.draw.choice((1, 2, 8, 64)), len(found) - place)
            match self.draw.randrange(6):
                case 0 if place < len(found):
                    found[place] ^= 1 << self.draw.randrange(8)
                case 1:
                    del found[place : place + length]
                case 2:
                    found[place:place] = found[place : place + length]
                case 3:
                    found[place:place] = self.draw.randbytes(self.draw.choice((1, 4, 32)))
                case 4:
                    del found[place:]
                case 5:
                    found[place:place] = self.draw.choice((b'"', b"\x00", b"\n", b",", b"\xff\xfe", b"{", b"\t", b"\r"))
        return bytes(found)


def _tables(folder: Path) -> Iterator[tuple[str, bytes]]:
    texts, labels = sentences(12)
    for separator, name in ((",", "good.csv"), ("\t", "good.tsv")):
        rows = [f"{text}{separator}{label}" for text, label in zip(texts, labels, strict=True)]
        yield name, "\n".join([f"text{separator}label", *rows, ""]).encode()
    lines = [json.dumps({"text": text, "label": label}) for text, label in zip(texts, labels, strict=True)]
    yield "good.jsonl", "\n".join(lines).encode()
    pyarrow.parquet.write_table(pyarrow.table({"text": texts, "label": labels}), folder / "good.parquet")
    yield "good.parquet", (folder / "good.parquet").read_bytes()


def _contents(folder: Path) -> str:
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        digest.update(str(path).encode() + (path.read_bytes() if path.is_file() else b""))
    return digest.hexdigest()


def _check(case: Case, status: int | None, told: str) -> None:
    verb = case.arguments[0]
    assert status in (0, 2), told
    if status == 2:
        assert told.splitlines()[-1].startswith((f"graphloss {verb}: ", "  grid ")), told
        assert "Traceback" not in told
    assert "\x1b" not in told


@pytest.fixture(scope="module")
def maker(encoders: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Maker:
    folder = tmp_path_factory.mktemp("fuzz")
    texts, labels = sentences(24)
    rows = [f"{text},{label}" for text, label in zip(texts, labels, strict=True)]
    (folder / "train.csv").write_text("\n".join(["text,label", *rows, ""]))
    given = ["--train", str(folder / "train.csv"), "--encoder", str(encoders["bert"]), "--use_cpu", "--quiet"]
    assert main(["train", *given, "--max_steps", "2", "--max_length", "16", "--output_dir", str(folder / "whole")]) == 0
    run = folder / "run"
    command = ["train", *given, "--max_steps", "400", "--save_strategy", "steps", "--save_steps", "1", "--floor", "no"]
    process = start([*command, "--max_length", "16", "--output_dir", str(run)], folder / "log")
    while not (run / "checkpoint-3").exists():
        time.sleep(0.01)
    process.kill()
    process.join()
    gc.freeze()  # each run looks for what earlier ones left: not among all that is imported
    return Maker(folder, run, seed=0)


@pytest.mark.slow
def test_in_one_process(maker: Maker) -> None:
    for number in range(CASES):
        case = maker.case(number)
        before, began, told = _contents(case.folder), time.monotonic(), io.StringIO()
        try:
            with redirect_stderr(told), redirect_stdout(io.StringIO()):
                status = main(case.arguments)
        except BaseException as error:
            raise AssertionError(f"case {number}: {' '.join(case.arguments)}") from error
        _check(case, status, told.getvalue())
        assert time.monotonic() - began < LONGEST, f"case {number}: {' '.join(case.arguments)}"
        assert _contents(case.folder) == before, f"case {number}"


@pytest.mark.slow
def test_in_processes_of_their_own(maker: Maker) -> None:
    for number in range(IN_PROCESSES):
        case, log = maker.case(number), maker.folder / f"log-{number}"
        before = _contents(case.folder)
        process = start(case.arguments, log)
        process.join(timeout=LONGEST)
        _check(case, process.exitcode, log.read_text())
        assert _contents(case.folder) == before, f"case {number}"
