"""What an explanation looks like on a terminal."""

import io

from graphloss.cli.explain import _show
from graphloss.cli.terminal import Terminal


def test_shares_and_labels_have_room_beside_long_texts() -> None:
    neighbour = {
        "share": 0.1921,
        "embedding_share": 0.0002,
        "word_share": 0.1919,
        "label": "hardware",
        "text": "a" * 300,
    }
    explanation = {
        "text": "b" * 500,
        "prediction": "hardware",
        "probability": 0.6,
        "head": {"hardware": 0.5, "graphics": 0.5},
        "graph": {"hardware": 0.7, "graphics": 0.3},
        "weight": 1.0,
        "abstained": False,
        "neighbours": [neighbour],
        "others": 0.8079,
    }
    terminal = Terminal()
    terminal.file, terminal.width = io.StringIO(), 80
    _show(explanation, terminal)
    (row,) = (line for line in terminal.file.getvalue().splitlines() if "19.21%" in line)
    assert row.split()[:4] == ["19.21%", "0.02%", "19.19%", "hardware"]
    assert len(row) <= 80
    assert "80.79%" in terminal.file.getvalue()
