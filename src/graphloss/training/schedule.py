"""Steps and learning rates, beyond what transformers schedules."""

import math
from collections.abc import Callable

from torch.optim.lr_scheduler import LambdaLR

from graphloss.errors import InputError

DROP = 0.1
USUAL_WIDTH = 768
USUAL_EPOCHS, LEAST_STEPS, BETWEEN = 8.0, 40, 10  # steps between two evaluations of short epochs


def steps_of_few(an_epoch: int) -> int:
    """The steps to train for where an epoch has so few that eight of them would hardly move an encoder: 40 or more,
    in tens, as validation documents are then scored; 0 where epochs are long enough.

    Args:
        an_epoch: steps of an epoch.
    """
    if an_epoch >= BETWEEN:
        return 0
    return BETWEEN * math.ceil(max(USUAL_EPOCHS * an_epoch, LEAST_STEPS) / BETWEEN)


def usual_rate(width: int, *, few: bool = False) -> float:
    """5e-5 for an encoder whose embeddings have 768 entries; narrower ones, which are smaller, bear and need more, to
    1e-4; few documents half of it."""
    return min(5e-5 * USUAL_WIDTH / width, 1e-4) * (0.5 if few else 1.0)


def drop_after(schedule: object, step: int) -> None:
    """Let a schedule give a tenth of its learning rates from a step on.

    Args:
        schedule: one that is a function of the step.
        step: the first that has the lower rate, from 0.

    Raises:
        InputError: for a schedule that depends on scores.

    Source: Sharma, Agarwal & Kumar (2025), settings.
    """
    if not isinstance(schedule, LambdaLR):
        raise InputError("--learning_rate_drop needs a schedule by steps, such as --lr_scheduler_type constant")
    schedule.lr_lambdas = [_dropped(rate, step) for rate in schedule.lr_lambdas]


def _dropped(rate: Callable[[int], float], step: int) -> Callable[[int], float]:
    return lambda at: rate(at) * (DROP if at >= step else 1.0)
