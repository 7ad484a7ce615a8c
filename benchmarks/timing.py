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


def median_parts(tasks: dict[str, Callable[[], dict[str, float]]], rounds: int) -> dict[str, dict[str, float]]:
    """Median seconds of each part of each task.

    Args:
        tasks: each returns the seconds of its parts, by name.
        rounds: turns of each task; a first one is not counted.
    """
    turns = [{name: task() for name, task in tasks.items()} for _ in range(rounds + 1)][1:]
    return {
        name: {part: statistics.median(turn[name][part] for turn in turns) for part in parts}
        for name, parts in turns[0].items()
    }


def seconds(task: Callable[[], object]) -> float:
    """How long a task takes, its work on a CUDA device included."""
    start = clock()
    task()
    return clock() - start


def clock() -> float:
    """Seconds since some moment, when a CUDA device has done what it was given."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter()
