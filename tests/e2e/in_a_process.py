"""The command line in a process of its own that starts at once: a server that has imported everything forks it."""

import multiprocessing
import os
import sys
from multiprocessing.process import BaseProcess
from pathlib import Path

import graphloss.cli.train
import graphloss.run  # noqa: F401 - for the server to import

_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(["tests.e2e.in_a_process"])


def start(arguments: list[str], log: Path) -> BaseProcess:
    """A process at work on a command; it ends with its exit status.

    Args:
        arguments: of `graphloss`.
        log: where its output goes.
    """
    process = _CONTEXT.Process(target=_run, args=(arguments, log))
    process.start()
    return process


def _run(arguments: list[str], log: Path) -> None:
    import torch

    from graphloss.cli.main import main

    output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(output, sys.stdout.fileno())
    os.dup2(output, sys.stderr.fileno())
    torch.set_num_threads(1)
    sys.exit(main(arguments))
