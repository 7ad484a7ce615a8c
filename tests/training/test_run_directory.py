"""What a run says of the code that made it."""

import subprocess
from pathlib import Path

from graphloss.training.run_directory import UNCOMMITTED, source_commit

AS_SOMEONE = ("-c", "user.name=someone", "-c", "user.email=someone@example.org")


def git(folder: Path, *words: str) -> str:
    done = subprocess.run(["git", *AS_SOMEONE, *words], cwd=folder, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def test_a_run_names_the_commit_and_whether_there_are_changes_beside_it(tmp_path: Path) -> None:
    package = tmp_path / "package"
    package.mkdir()
    assert source_commit(package) is None
    (package / "code.py").write_text("1")
    git(tmp_path, "init", "--quiet")
    assert source_commit(package) is None
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "--quiet", "--message", "first")
    commit = git(tmp_path, "rev-parse", "HEAD")
    assert source_commit(package) == commit
    (tmp_path / "notes.txt").write_text("of no consequence")
    assert source_commit(package) == commit
    (package / "code.py").write_text("2")
    assert source_commit(package) == commit + UNCOMMITTED
