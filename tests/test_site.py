"""The pages build, and what stands in them runs, in an empty folder, in the order in which a reader meets it."""

import contextlib
import re
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from graphloss.cli.main import main
from graphloss.data.benchmarks import BENCHMARKS
from graphloss.data.docstrings import docstring_splits
from graphloss.data.writing import write_table

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
BLOCKS = re.compile(r"^```(\w+)\n(.*?)^```", re.DOTALL | re.MULTILINE)
NAMED = re.compile(r"\b(?:benchmarks|plans|examples|tests|docs|results)/[\w./-]+\.(?:py|yaml|md|json|svg)\b")
SETTING_UP = ("pip", "make", "python")  # what brought this test here, and what has a test of its own


def blocks(page: Path, *languages: str) -> list[tuple[str, str]]:
    return [block for block in BLOCKS.findall(page.read_text()) if block[0] in languages]


@pytest.mark.slow
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


def test_files_that_pages_name_are_there() -> None:
    missing = {
        f"{page.name}: {name}"
        for page in PAGES
        for name in NAMED.findall(page.read_text())
        if not (ROOT / name).exists() and not name.startswith("results/")
    }
    assert not missing


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, encoders: dict[str, Path]) -> Path:
    """The files that the pages speak of, small ones."""
    splits = docstring_splits(classes=3, training=24, validation=2, test=8)
    assert splits.test is not None
    texts = [text[:200] for text in splits.train.texts]
    new = [text[:200] for text in splits.test.texts]
    tables = {
        "mails.csv": {"text": texts, "label": splits.train.labels},
        "more.csv": {"text": new, "label": splits.test.labels},
        "new.csv": {"text": new},
        "unlabelled.csv": {"text": [f"{text} again" for text in new]},
        "other.csv": {"text": [" ".join(text.split()[::-1]) for text in new]},
        "benchmark/train.csv": {"text": texts, "label": splits.train.labels},
        "benchmark/test.csv": {"text": new, "label": splits.test.labels},
    }
    (tmp_path / "benchmark").mkdir()
    for name, columns in tables.items():
        write_table(tmp_path / name, columns)
    np.save(tmp_path / "embeddings.npy", np.random.default_rng(0).normal(size=(len(texts), 16)).astype(np.float32))
    (tmp_path / "encoders").mkdir()
    (tmp_path / "encoders" / "bert-base-uncased").symlink_to(encoders["bert"])
    monkeypatch.setenv("GRAPHLOSS_ENCODERS", str(tmp_path / "encoders"))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.slow
@pytest.mark.parametrize("page", [page for page in PAGES if blocks(page, "sh", "python")], ids=lambda page: page.stem)
def test_what_a_page_says_runs(page: Path, folder: Path) -> None:
    for _, block in blocks(page, "yaml"):
        (folder / "plan.yaml").write_text(block)
    for language, block in blocks(page, "sh", "python"):
        if language == "python":
            with contextlib.redirect_stdout(None):
                exec(compile(block, page.name, "exec"), {})
            continue
        for line in block.replace("\\\n", " ").strip().splitlines():
            words = shlex.split(line, comments=True)
            if words and words[0] not in SETTING_UP:
                run(shortened(words))


def shortened(words: list[str]) -> list[str]:
    """A command on small data and of one epoch; plans are listed and not carried out, which tests/e2e does."""
    small = [
        "benchmark" if word in BENCHMARKS else "2" if before == "--trials" else word
        for before, word in zip(["", *words], words, strict=False)
    ]
    if "train" in small and "--num_train_epochs" not in small and "--system" not in small and "--config" not in small:
        small += ["--num_train_epochs", "1"]
    if "bench" in small and "--status" not in small:
        small += ["--dry_run"]
    return small


def run(words: list[str]) -> None:
    command, *arguments = words
    if command == "graphloss":
        assert main(arguments) == 0, words
    else:
        assert command == "torchrun", words
        done = subprocess.run(
            [Path(sys.executable).parent / command, *arguments, "--use_cpu"], capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("block", [block for page in PAGES for _, block in blocks(page, "bash")])
def test_scripts_to_copy_are_scripts(block: str) -> None:
    checked = subprocess.run(["bash", "-n"], input=block, capture_output=True, text=True)
    assert checked.returncode == 0, checked.stderr
