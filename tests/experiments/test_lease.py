"""One holder at a time, and none for ever."""

import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from graphloss.experiments.lease import is_held, lease


def test_one_holder_at_a_time(tmp_path: Path) -> None:
    path = tmp_path / "leases" / "work"
    assert not is_held(path)
    with lease(path) as first:
        assert first
        assert is_held(path)
        with lease(path) as second:
            assert not second
        assert is_held(path)
    assert not is_held(path)
    with pytest.raises(KeyboardInterrupt), lease(path):
        raise KeyboardInterrupt
    assert not is_held(path)


def test_of_many_that_ask_at_once_one_holds_it(tmp_path: Path) -> None:
    start, held = threading.Barrier(8), []

    def ask() -> None:
        start.wait()
        with lease(tmp_path / "work") as taken:
            held.append(taken)
            time.sleep(0.3)

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert held.count(True) == 1


def test_who_is_killed_holds_nothing(tmp_path: Path) -> None:
    code = (
        "import sys, time; from pathlib import Path; from graphloss.experiments.lease import lease\n"
        "with lease(Path(sys.argv[1])): print('held', flush=True); time.sleep(60)"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "work")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        assert is_held(tmp_path / "work")
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert not is_held(tmp_path / "work")
