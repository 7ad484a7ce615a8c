"""Times of tasks that take turns in one process, so that a machine whose speed drifts slows all alike."""

import statistics
import time
from collections.abc import Callable

import torch

SLOW = 0.2  # seconds: such a call is its own warm-up, and three of them are enough


def median_times(tasks: dict[str, Callable[[], object]], rounds: int, block: int = 1) -> dict[str, float]:
    """Median seconds of each task.

    Args:
        tasks: what to time, by name.
        rounds: turns of each task; a first one is not counted.
        block: calls counted in a turn. Each turn starts with one call more, so that what the task before left in the
            caches is not charged to this one.
    """
    times: dict[str, list[float]] = {name: [] for name in tasks}
    slow = {name for name, task in tasks.items() if seconds(task) > SLOW}
    for turn in range(rounds):
        for name, task in tasks.items():
            if name not in slow:
                task()
                times[name] += [seconds(task) for _ in range(block)]
            elif turn < 3:
                times[name].append(seconds(task))
    return {name: statistics.median(values) for name, values in times.items()}


def seconds(task: Callable[[], object]) -> float:
    """How long a task takes, its work on a CUDA device included."""
    start = time.perf_counter()
    task()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - start
