"""The pages build, and what stands in them runs, in an empty folder, in the order in which a reader meets it."""

import contextlib
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from graphloss.cli.main import main
from graphloss.data.docstrings import docstring_splits
from graphloss.data.writing import write_table

ROOT = Path(__file__).parents[1]
BLOCKS = re.compile(r"```(sh|python)\n(.*?)```", re.DOTALL)

pytestmark = pytest.mark.slow


def test_the_site_builds_without_a_warning(tmp_path: Path) -> None:
    pytest.importorskip("mkdocs")
    built = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--quiet", "--site-dir", str(tmp_path / "site")],
        cwd=ROOT,
        capture_output=True,
        text=True,
        env={"NO_MKDOCS_2_WARNING": "1", "PATH": ""},
    )
    assert built.returncode == 0, built.stderr
    assert "GLoss" in (tmp_path / "site" / "reference" / "index.html").read_text()
    assert (tmp_path / "site" / "project" / "own_loop" / "index.html").exists()


def test_what_the_pages_say_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    splits = docstring_splits(classes=3, training=24, validation=2, test=8)
    assert splits.test is not None
    texts = [text[:200] for text in splits.train.texts]
    write_table(tmp_path / "mails.csv", {"text": texts, "label": splits.train.labels})
    write_table(tmp_path / "new.csv", {"text": [text[:200] for text in splits.test.texts]})
    monkeypatch.chdir(tmp_path)
    for page in ("index.md", "serving.md"):
        for language, block in BLOCKS.findall((ROOT / "docs" / page).read_text()):
            if language == "python":
                with contextlib.redirect_stdout(None):
                    exec(compile(block, page, "exec"), {})
                continue
            for line in block.strip().splitlines():
                command, *arguments = shlex.split(line)
                assert command == "graphloss"
                assert main(arguments) == 0, line
    assert (tmp_path / "labelled.csv").exists()
    assert (tmp_path / "suspicious.csv").exists()
    assert (tmp_path / "mails.html").exists()
