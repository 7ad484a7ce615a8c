"""Who is at work on what, among processes that share a folder."""

import contextlib
import os
import socket
import threading
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

BEAT = 5.0  # seconds between two signs of life
STALE = 60.0  # without one, whoever held it is taken for dead


@contextlib.contextmanager
def lease(path: Path) -> Iterator[bool]:
    """Hold a piece of work; gives whether it could be had.

    The file appears by an exclusive creation and is touched while it is held: that of a killed process grows old and is
    taken over, by one process only.

    Args:
        path: of the file that stands for it.
    """
    if not _take(path):
        yield False
        return
    over = threading.Event()
    thread = threading.Thread(target=_beat, args=(path, over), daemon=True)
    thread.start()
    try:
        yield True
    finally:
        over.set()
        thread.join()
        path.unlink(missing_ok=True)


def is_held(path: Path) -> bool:
    """Whether somebody who is alive holds it."""
    try:
        return time.time() - path.stat().st_mtime < STALE
    except FileNotFoundError:
        return False


def _take(path: Path) -> bool:
    if path.exists() and not is_held(path):
        with contextlib.suppress(FileNotFoundError):  # another process was faster
            path.rename(path.with_name(f"{path.name}.{uuid.uuid4().hex}")).unlink()
    try:
        descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY)
    except FileExistsError:
        return False
    with os.fdopen(descriptor, "w") as file:
        file.write(f"{socket.gethostname()} {os.getpid()}\n")
    return True


def _beat(path: Path, over: threading.Event) -> None:
    while not over.wait(BEAT):
        with contextlib.suppress(FileNotFoundError):
            path.touch()
