"""What a run costs is not what an earlier one in the process left."""

import gc
import weakref

from graphloss.training.meter import Meter


class Circle:
    """Nothing but a collection lets go of it."""

    def __init__(self) -> None:
        self.itself = self


def test_a_later_run_begins_without_what_an_earlier_one_left() -> None:
    Meter()
    gc.disable()
    try:
        left = weakref.ref(Circle())
        assert left() is not None
        Meter()
        assert left() is None
    finally:
        gc.enable()
