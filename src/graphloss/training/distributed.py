"""What several processes of one run must do together; the only file that knows of collectives."""

from collections.abc import Callable
from typing import TypeVar

from accelerate import PartialState
from accelerate.utils import broadcast_object_list

Decision = TypeVar("Decision")


def agreed(decide: Callable[[], Decision]) -> Decision:
    """What the first process decides, in all processes; in a run of one process, what it decides."""
    decision = [decide() if PartialState().is_main_process else None]
    broadcast_object_list(decision)
    return decision[0]  # type: ignore[return-value]
