from pathlib import Path

import pytest

from graphloss.cli.main import main
from graphloss.data import docstrings


def test_demo_prints_the_floor_and_both_losses(
    encoders: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(docstrings, "CANDIDATES", 12)  # fewer files to read
    folder = tmp_path / "demo"
    flags = ["demo", "--output_dir", str(folder), "--encoder", str(encoders["bert"])]
    assert main([*flags, "--steps", "2", "--labels_per_class", "4"]) == 0
    printed = capsys.readouterr().out
    for line in (
        "encoder as it was, linear head, with the graph",
        "cross-entropy",
        "G-Loss + cross-entropy",
        "accuracy",
    ):
        assert line in printed
    for run in ("ce", "gloss"):
        assert (folder / run / "metrics.json").exists()
        assert str(folder / run) in printed
    assert main(flags) == 2
    assert "exists; name another --output_dir or give --overwrite" in capsys.readouterr().err
