"""What a run costs."""

import contextlib
import ctypes
import gc
import time
from pathlib import Path

import torch

FORGET_THE_PEAK = "5"  # to Linux


class Meter:
    """Counts the seconds of a run and the memory that it held at most, from now on.

    Attributes:
        runs: how many were begun in this process.
        before: seconds that earlier processes spent on the run.
    """

    runs = 0

    def __init__(self) -> None:
        self.started, self.before = time.perf_counter(), 0.0
        with contextlib.suppress(OSError, AttributeError):
            if Meter.runs:  # a look through all that torch imports takes a good part of a second
                gc.collect()
                ctypes.CDLL(None).malloc_trim(0)  # what an earlier run in this process let go of
            Path("/proc/self/clear_refs").write_text(FORGET_THE_PEAK)
        Meter.runs += 1
        if torch.cuda.is_initialized():
            torch.cuda.reset_peak_memory_stats()

    def read(self, device: str = "cpu") -> dict[str, float | int | None]:
        """The cost so far.

        Args:
            device: of the run.

        Returns:
            "seconds", and "peak_memory" in bytes: what tensors took on a CUDA device, else what was resident of the
            process; None where the system does not tell.
        """
        seconds = self.before + time.perf_counter() - self.started
        peak = torch.cuda.max_memory_allocated() if device.startswith("cuda") else _most_resident()
        return {"seconds": seconds, "peak_memory": peak}


def _most_resident() -> int | None:
    status = Path("/proc/self/status")
    lines = status.read_text().splitlines() if status.exists() else []
    found = [int(line.split()[1]) for line in lines if line.startswith("VmHWM:")]
    return 1024 * found[0] if found else None
