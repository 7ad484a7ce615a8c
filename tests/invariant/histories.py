"""Whether two runs traced the same losses: `python -m tests.invariant.histories RUN RUN`."""

import json
import sys
from pathlib import Path

TRACED = ("loss", "ce_loss", "graph_loss", "metric_loss", "bandwidth", "graph_size", "eval_loss", "eval_accuracy")
TOLERANCE = 1e-4


def history(run: Path) -> list[dict]:
    """What a run logged, step by step and evaluation by evaluation."""
    return [json.loads(line) for line in (run / "history.jsonl").read_text().splitlines()]


def largest_difference(one: Path, other: Path) -> float:
    """Of any traced figure between two runs, relative where it is above 1.

    Raises:
        ValueError: where the runs did not log the same figures at the same steps.
    """
    histories = [history(run) for run in (one, other)]
    shapes = [[(entry["step"], sorted(entry.keys() & set(TRACED))) for entry in entries] for entries in histories]
    if shapes[0] != shapes[1]:
        raise ValueError("the runs did not log the same figures at the same steps")
    return max(
        abs(mine[name] - others[name]) / max(1.0, abs(mine[name]))
        for mine, others in zip(*histories, strict=True)
        for name in mine.keys() & set(TRACED)
    )


if __name__ == "__main__":
    found = largest_difference(*map(Path, sys.argv[1:]))
    print(f"largest difference {found:.1e}, at most {TOLERANCE:.0e}")
    sys.exit(found > TOLERANCE)
