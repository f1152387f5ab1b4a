"""The lock: it travels with its descriptor, and only death or its holder frees it."""

from __future__ import annotations

import fcntl
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from shmstream.memory.segment import Segment
from tests.memory.actors import hold_lock
from tests.memory.segments import create
from tests.support.child import Child


def is_locked(path: Path) -> bool:
    """Whether somebody holds the lock; what the supervisor asks."""
    fd = os.open(path, os.O_RDWR)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(fd)
    return False


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / 'segment'


@pytest.fixture
def listener(tmp_path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(os.fspath(tmp_path / 'sock'))
        sock.listen()
        yield sock


def test_a_new_segment_is_locked_by_the_descriptor_and_not_by_the_mapping(
    path: Path,
) -> None:
    segment, fd = create(path)
    assert is_locked(path)
    os.close(fd)
    assert not is_locked(path)
    assert segment.conv_id == 'c'


def test_attaching_and_reading_take_no_lock(path: Path) -> None:
    _, fd = create(path)
    os.close(fd)
    attached = Segment.attach(path)
    assert not is_locked(path)
    assert attached.conv_id == 'c'


def test_there_is_no_moment_without_the_lock_when_it_is_handed_over(
    path: Path, listener: socket.socket
) -> None:
    segment, fd = create(path)
    with Child(hold_lock, listener.getsockname()) as child:
        peer, _ = listener.accept()
        with peer:
            socket.send_fds(peer, [b'.'], [fd])
            # It may be under way now: in the socket and nowhere else.
            os.close(fd)
            assert is_locked(path)
        assert child.hear() == 'c'
        assert is_locked(path)
        child.say('close')
        assert child.hear() == 'closed'
        # Its mapping was made from that descriptor, and has gone with it.
        assert not is_locked(path)
    assert segment.conv_id == 'c'


def test_a_descriptor_that_nobody_took_out_of_the_socket_keeps_the_lock(
    path: Path,
) -> None:
    _, fd = create(path)
    ours, theirs = socket.socketpair()
    with theirs:
        with ours:
            socket.send_fds(ours, [b'.'], [fd])
            os.close(fd)
        assert is_locked(path)
    assert not is_locked(path)


def test_death_frees_the_lock_at_once(path: Path, listener: socket.socket) -> None:
    _, fd = create(path)
    with Child(hold_lock, listener.getsockname()) as child:
        peer, _ = listener.accept()
        with peer:
            socket.send_fds(peer, [b'.'], [fd])
        os.close(fd)
        assert child.hear() == 'c'
        assert is_locked(path)
        child.kill()
        assert not is_locked(path)
