"""What a stranger wrote into a text, a label or a file name does not reach the terminal as a command."""

import io
from pathlib import Path

import pytest
from rich.table import Table

from graphloss.cli.main import main
from graphloss.cli.output import CONTROL, shown
from graphloss.cli.terminal import Terminal

WICKED = "\x1b]0;owned\x07 \x1b[2J[bold]x[/bold] \x9b31m \x7f\r"


def test_control_characters_are_written_out() -> None:
    assert shown("a\tb\nc") == "a\tb\nc"
    assert shown("\x1b[31mred\x9b") == "\\x1b[31mred\\x9b"
    assert not CONTROL.search(shown("".join(map(chr, range(256)))))


def test_neither_in_lines_nor_in_tables() -> None:
    terminal = Terminal()
    terminal.file = io.StringIO()
    table = Table(WICKED)
    table.add_row(WICKED)
    terminal.print(WICKED)
    terminal.print(table)
    printed = terminal.file.getvalue()
    assert not CONTROL.search(printed)
    assert printed.count("[bold]x[/bold]") == 3
    assert printed.count("\\x1b[2J") == 3


def test_nor_in_errors_and_notes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "bad\x1b[2J.csv").write_text("text,label\na,b\n")
    for name in ("bad\x1b[2J.csv", "missing\x1b[2J.csv"):
        assert main(["train", "--train", str(tmp_path / name), "--output_dir", str(tmp_path / "run")]) == 2
        told = capsys.readouterr().err
        assert "\\x1b[2J.csv" in told
        assert "\x1b" not in told
