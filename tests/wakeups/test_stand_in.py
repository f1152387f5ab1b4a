"""A pipe in the place of a semaphore does what bells do with one."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import posix_ipc
import pytest

from shmstream.wakeups.doorbell_thread import Doorbell
from shmstream.wakeups.stand_in import PipePosts, open_posts


@pytest.fixture
def path(tmp_path: Path) -> Path:
    os.mkfifo(tmp_path / 'posts', 0o600)
    return tmp_path / 'posts'


def test_posts_wait_until_they_are_taken(path: Path) -> None:
    ours, theirs = PipePosts(path), PipePosts(path)
    assert ours.value == 0
    with pytest.raises(posix_ipc.BusyError):
        ours.acquire(0)
    theirs.release()
    theirs.release()
    assert ours.value == 2
    ours.acquire(0)
    assert ours.value == 0
    ours.close()
    theirs.close()
    for use in (ours.release, lambda: ours.acquire(0), lambda: ours.value):
        with pytest.raises(posix_ipc.ExistentialError):
            use()


def test_one_that_is_full_is_loud_enough(path: Path) -> None:
    posts = PipePosts(path)
    for _ in range(70_000):
        posts.release()
    assert posts.value > 0
    posts.acquire(0)
    assert posts.value == 0
    posts.close()


def test_a_thread_is_woken_by_it(path: Path) -> None:
    rung = threading.Event()

    def on_wake(by_ring: bool) -> float:
        if by_ring:
            rung.set()
        return 60.0

    bell = Doorbell('/shmstream-none-of-this-name', on_wake, path)
    bell.start()
    posts = PipePosts(path)
    posts.release()
    assert rung.wait(20)
    rung.clear()
    bell.ring()
    assert rung.wait(20)
    bell.stop()
    assert not bell.alive
    posts.close()


def test_without_either_there_is_no_bell(tmp_path: Path) -> None:
    for stand_in in (None, tmp_path / 'none'):
        with pytest.raises(posix_ipc.ExistentialError):
            open_posts('/shmstream-none-of-this-name', stand_in)
