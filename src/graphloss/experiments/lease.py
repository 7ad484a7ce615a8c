"""Who is at work on what, among processes that share a folder."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

from filelock import FileLock, Timeout


@contextlib.contextmanager
def lease(path: Path) -> Iterator[bool]:
    """Hold a piece of work; gives whether it could be had.

    It is a lock of the operating system, which a process that is killed loses at once; on a folder that machines share,
    as far as their file system has such locks. The file stays: to delete it is to let two hold the same work.

    Args:
        path: of the file that stands for it; its folder is made where it is missing.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(path)
    try:
        lock.acquire(blocking=False)
    except Timeout:
        yield False
        return
    try:
        yield True
    finally:
        lock.release()


def is_held(path: Path) -> bool:
    """Whether somebody who is alive holds it."""
    if not path.exists():
        return False
    with lease(path) as free:
        return not free
