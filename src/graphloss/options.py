"""A field of a dataclass that is also a flag."""

from dataclasses import field
from typing import Any


def option(default: Any, help: str, choices: tuple[str, ...] | None = None) -> Any:
    """A field with its default, the text of its flag, and the values that it may have."""
    return field(default=default, metadata={"help": help} | ({"choices": choices} if choices else {}))
