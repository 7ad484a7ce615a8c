"""What a search may choose from."""

from typing import Any, NamedTuple

from graphloss.errors import InputError
from graphloss.run import RunConfig


class Range(NamedTuple):
    """Numbers from `low` to `high`, evenly or, with `log`, evenly in their logarithms."""

    low: float
    high: float
    log: bool = False


Choices = tuple[Any, ...]
Space = dict[str, Range | Choices]

# Of the paper, for each loss; learning rates for all.
RATES: Choices = (1e-5, 2e-5, 3e-5, 4e-5, 5e-5)
PAPER: dict[str, Space] = {
    "gloss": {
        "labelled_fraction": Range(0.1, 0.9),
        "graph_weight": Range(0.1, 0.9),
        "bandwidth": Range(0.1, 10.0, log=True),
    },
    "scl": {"temperature": Range(0.01, 1.0, log=True)},
}


def paper_space(loss: str, setup: str) -> Space:
    """The search space of the paper for a loss; standalone there is no weight to choose."""
    space: Space = {"learning_rate": RATES} | PAPER.get(loss, {})
    if setup == "standalone":
        space.pop("graph_weight", None)
    return space


def read_space(given: list[str]) -> Space:
    """A search space from NAME=LOW:HIGH, NAME=LOW:HIGH:log and NAME=A,B,C.

    Raises:
        InputError: for what is none of these.
    """
    space: Space = {}
    for text in given:
        name, _, values = text.partition("=")
        parts = values.split(":")
        try:
            if len(parts) == 1 and values:
                space[name] = tuple(_value(each) for each in values.split(","))
            elif len(parts) in (2, 3) and parts[2:] in ([], ["log"]):
                space[name] = Range(float(parts[0]), float(parts[1]), log=len(parts) == 3)
            else:
                raise ValueError
        except ValueError:
            raise InputError(f"--search {text!r} must read NAME=LOW:HIGH, NAME=LOW:HIGH:log or NAME=A,B,C") from None
    return space


def check_space(space: Space, settings: dict[str, Any]) -> None:
    """Try the ends of every range and every choice.

    Raises:
        InputError: for names that no flag has and for values that are refused.
    """
    for name, values in space.items():
        if isinstance(values, Range):
            if not values.low < values.high or (values.log and values.low <= 0.0):
                raise InputError(f"--search {name}: {values.low} to {values.high} is no range")
            values = values[:2]
        for value in values:
            RunConfig.of(settings | {name: as_setting(name, value)})


def as_setting(name: str, value: Any) -> Any:
    """A searched value as the setting wants it: kernel widths are given as text, for they may be rules."""
    return str(value) if name == "bandwidth" else value


def _value(text: str) -> Any:
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return {"true": True, "yes": True, "false": False, "no": False}.get(text.lower(), text)
