"""Learning rates over the steps, beyond what transformers schedules."""

from collections.abc import Callable

from torch.optim.lr_scheduler import LambdaLR

from graphloss.errors import InputError

DROP = 0.1


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
