"""The command line in a process of its own that starts at once: a server that has imported everything forks it."""

import multiprocessing
import os
import socket
import sys
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import graphloss.cli.train
import graphloss.run  # noqa: F401 - for the server to import

_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(["tests.e2e.in_a_process"])


def start(arguments: list[str], log: Path, environment: dict[str, str] | None = None) -> BaseProcess:
    """A process at work on a command; it ends with its exit status.

    Args:
        arguments: of `graphloss`.
        log: where its output goes.
        environment: variables beside those of this process.
    """
    process = _CONTEXT.Process(target=_run, args=(arguments, log, environment or {}))
    process.start()
    return process


def start_together(arguments: list[str], log: Path, count: int, **environment: str) -> list[BaseProcess]:
    """Processes that are set up as torchrun does it; each has a log of its own, LOG.0 and so on.

    Args:
        arguments: of `graphloss`.
        log: where their output goes.
        count: of processes.
        environment: further variables, such as those of `accelerate launch`. As accelerate keeps FSDP for accelerators,
            it is told that the CPU is one where they ask for FSDP.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    common = environment | {"WORLD_SIZE": str(count), "LOCAL_WORLD_SIZE": str(count), "MASTER_ADDR": "127.0.0.1"}
    return [
        start(
            arguments,
            log.with_name(f"{log.name}.{rank}"),
            common | {"MASTER_PORT": str(port), "RANK": str(rank), "LOCAL_RANK": str(rank)},
        )
        for rank in range(count)
    ]


def _run(arguments: list[str], log: Path, environment: dict[str, str]) -> None:
    import torch

    from graphloss.cli.main import main

    os.environ.update(environment)
    output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(output, sys.stdout.fileno())
    os.dup2(output, sys.stderr.fileno())
    torch.set_num_threads(1)
    if "ACCELERATE_USE_FSDP" in environment:
        _let_the_cpu_pass_for_an_accelerator()
    sys.exit(main(arguments))


def _let_the_cpu_pass_for_an_accelerator() -> None:
    from accelerate import PartialState
    from accelerate.utils import DistributedType

    set_up = PartialState.__init__

    def then_rename(self: PartialState, *given: Any, **named: Any) -> None:
        set_up(self, *given, **named)
        if PartialState._shared_state.get("distributed_type") == DistributedType.MULTI_CPU:
            PartialState._shared_state["distributed_type"] = DistributedType.MULTI_GPU

    PartialState.__init__ = then_rename
