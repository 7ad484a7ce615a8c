"""What the machine decides: the precision that is fast on it, and how many documents fit at once.

Each is decided once, at the start of a run; what was decided stands in the run's config.
"""

import functools
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import torch
from torch import Tensor, nn

PRECISIONS = ("auto", "float32", "bf16", "fp16")
SCORE_PRECISIONS = ("float32", "training")
WORTH_IT = 1.2  # times as fast: below, the digits that bf16 gives up buy nothing
ROWS, WIDTH, ROUNDS = 1_024, 768, 9
SHARE_OF_MEMORY = 0.5  # for activations that are kept; the rest is for what comes and goes
CONTAINER = Path("/sys/fs/cgroup")
BYTES_OF_A_WEIGHT = 16  # itself, its gradient and two moments of Adam, in float32


def settle_precision(wanted: str, device: torch.device, say: Callable[[str], None]) -> str:
    """The precision of a run: "float32", "bf16" or "fp16".

    Args:
        wanted: one of `PRECISIONS`; "auto" is bf16 where a matrix product is faster in it, measured once a process.
        device: of the run.
        say: told, in one line, where the device lacks what is wanted.
    """
    if wanted == "auto":
        return "bf16" if bf16_speedup(device) >= WORTH_IT else "float32"
    if wanted == "fp16" and device.type == "cpu":
        say("note: --precision fp16 needs a GPU; training in float32")
        return "float32"
    if wanted == "bf16" and not _has_bf16(device):
        say(f"note: this {device.type} device has no bf16; training in float32")
        return "float32"
    return wanted


@functools.cache
def bf16_speedup(device: torch.device) -> float:
    """How many times as fast a matrix product is in bf16 as in float32; 0 where the device has no bf16."""
    if not _has_bf16(device):
        return 0.0
    points = {kind: torch.ones(ROWS, WIDTH, dtype=kind, device=device) for kind in (torch.float32, torch.bfloat16)}
    weights = {kind: torch.ones(WIDTH, WIDTH, dtype=kind, device=device) for kind in points}
    times: dict[torch.dtype, list[float]] = {kind: [] for kind in points}
    for _ in range(ROUNDS):
        for kind in points:
            times[kind].append(_seconds(functools.partial(torch.matmul, points[kind], weights[kind]), device))
    single, half = (statistics.median(values[1:]) for values in times.values())
    return single / half


def _seconds(task: Callable[[], Any], device: torch.device) -> float:
    start = time.perf_counter()
    task()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - start


def _has_bf16(device: torch.device) -> bool:
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return device.type == "cpu"


def fitting_micro_batch(one_pass: Callable[[], Any], model: nn.Module, device: torch.device, batch_size: int) -> int:
    """How many documents' activations fit into the memory that is free.

    Args:
        one_pass: over the longest document, with gradient.
        model: whose gradients and optimizer state will need memory, too.
        device: of the run.
        batch_size: the most that is asked for.

    Returns:
        `batch_size` where a batch of the longest documents fits, else the largest power of two that does; at least 1.
    """
    document = max(saved_bytes(one_pass, model), 1)
    trained = sum(weight.numel() for weight in model.parameters() if weight.requires_grad)
    fitting = int((free_memory(device) - BYTES_OF_A_WEIGHT * trained) * SHARE_OF_MEMORY / document)
    return batch_size if fitting >= batch_size else 1 << max(fitting, 1).bit_length() - 1


def saved_bytes(one_pass: Callable[[], Any], model: nn.Module) -> int:
    """What a pass keeps for its backward pass, in bytes, the weights apart."""
    known = {weight.untyped_storage().data_ptr() for weight in model.parameters()}
    kept: dict[int, int] = {}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in known:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor.detach()  # itself, it would hold the graph that holds it, for ever

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        result = one_pass()
    del result
    return sum(kept.values())


def free_memory(device: torch.device) -> int:
    """Bytes that can still be had on a device, within the limits of a container."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    free = psutil.virtual_memory().available
    try:
        limit, used = ((CONTAINER / f"memory.{name}").read_text().strip() for name in ("max", "current"))
    except OSError:
        return free
    return free if limit == "max" else min(free, int(limit) - int(used))
