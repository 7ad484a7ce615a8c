"""One holder at a time, and none for ever."""

import os
import threading
import time
from pathlib import Path

import pytest

from graphloss.experiments import lease as module
from graphloss.experiments.lease import is_held, lease


def test_one_holder_at_a_time(tmp_path: Path) -> None:
    path = tmp_path / "work.lease"
    assert not is_held(path)
    with lease(path) as first:
        assert first
        assert is_held(path)
        with lease(path) as second:
            assert not second
        assert is_held(path)
    assert not path.exists()
    with pytest.raises(KeyboardInterrupt), lease(path):
        raise KeyboardInterrupt
    assert not path.exists()


def test_a_dead_holder_is_followed_by_one_only(tmp_path: Path) -> None:
    path = tmp_path / "work.lease"
    path.write_text("elsewhere 1\n")
    old = time.time() - 2 * module.STALE
    os.utime(path, (old, old))
    assert not is_held(path)
    start, held = threading.Barrier(8), []

    def follow() -> None:
        start.wait()
        with lease(path) as taken:
            held.append(taken)
            time.sleep(0.2)

    threads = [threading.Thread(target=follow) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert held.count(True) == 1
    assert list(tmp_path.iterdir()) == []


def test_a_living_holder_gives_signs_of_life(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BEAT", 0.02)
    monkeypatch.setattr(module, "STALE", 0.2)
    path = tmp_path / "work.lease"
    with lease(path):
        time.sleep(0.4)
        assert is_held(path)
