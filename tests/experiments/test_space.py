"""What is searched, from text."""

import pytest

from graphloss.errors import InputError
from graphloss.experiments.space import Range, check_space, paper_space, read_space


def test_ranges_and_choices() -> None:
    given = ["graph_weight=0.1:0.9", "learning_rate=1e-5:1e-3:log", "masking=random,folds", "memory_size=0,512"]
    assert read_space(given) == {
        "graph_weight": Range(0.1, 0.9),
        "learning_rate": Range(1e-5, 1e-3, log=True),
        "masking": ("random", "folds"),
        "memory_size": (0, 512),
    }


@pytest.mark.parametrize(
    "text", ["graph_weight", "graph_weight=", "graph_weight=a:b", "graph_weight=1:2:lin", "a=1:2:3:4"]
)
def test_what_is_no_space(text: str) -> None:
    with pytest.raises(InputError, match="must read NAME=LOW:HIGH"):
        read_space([text])


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("graph_weight=0.1:1.9", "graph_weight must lie in"),
        ("graph_weight=0.9:0.1", "is no range"),
        ("learning_rate=0:1:log", "is no range"),
        ("masking=random,nonsense", "masking"),
        ("wheight=0.1:0.9", "unknown 'wheight'"),
    ],
)
def test_ends_and_choices_are_tried(text: str, part: str) -> None:
    with pytest.raises(InputError, match=part):
        check_space(read_space([text]), {"output_dir": "out"})


@pytest.mark.parametrize("loss", ["gloss", "ce", "scl", "triplet", "cosine"])
@pytest.mark.parametrize("setup", ["integrated", "standalone"])
def test_the_space_of_the_paper_holds_settings(loss: str, setup: str) -> None:
    space = paper_space(loss, setup)
    check_space(space, {"output_dir": "out"})
    assert "learning_rate" in space
    assert ("graph_weight" in space) == (loss == "gloss" and setup == "integrated")
