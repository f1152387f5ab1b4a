"""A supervisor and a worker die together: who follows does not wait for a throttle.

Which of several deaths meet is up to chance, so time is the test's own here: what is
due is seen by what is done at which moment, on any machine.
"""

from __future__ import annotations

import logging
import os
import socket
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import cast

import pytest

from shmstream import SupervisorConfig
from shmstream.control.wire import encode
from shmstream.memory.directory import RuntimeDirectory
from shmstream.process import respawn
from shmstream.process.respawn import Respawner
from shmstream.ring.state import State
from shmstream.supervisor import server, timers
from shmstream.supervisor.adoption import RETURN_S
from shmstream.supervisor.periodic_chores import ROOM_S
from shmstream.supervisor.server import DYING_S, Supervisor
from shmstream.supervisor.session import Session


class Clock:
    """A clock that moves when it is told to."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    found = Clock()
    monkeypatch.setattr(respawn, 'time', found)
    monkeypatch.setattr(server, 'time', found)
    monkeypatch.setattr(timers, 'time', found)
    return found


class Spawned:
    """A supervisor that was started."""

    def __init__(self) -> None:
        self.ended: int | None = None

    def poll(self) -> int | None:
        return self.ended


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[Spawned]:
    """Those that a respawner has started."""
    found: list[Spawned] = []

    def spawn(*_: object) -> subprocess.Popen[bytes]:
        found.append(Spawned())
        return cast('subprocess.Popen[bytes]', found[-1])

    monkeypatch.setattr(respawn, 'spawn', spawn)
    return found


@pytest.fixture
def keeps(directory: Path, clock: Clock, started: list[Spawned]) -> Respawner:
    return Respawner(RuntimeDirectory(directory), None, lambda: [os.getpid()])


def test_one_that_served_is_followed_at_once_however_young_it_was(
    keeps: Respawner, clock: Clock, started: list[Spawned]
) -> None:
    keeps.respawn()
    keeps.connected()
    started[0].ended = -9
    clock.now += 0.01
    keeps.respawn()
    assert len(started) == 2
    # One is enough, as long as it lives.
    clock.now += 5
    keeps.respawn()
    assert len(started) == 2


def test_one_that_is_killed_before_it_serves_is_followed_at_once(
    keeps: Respawner, clock: Clock, started: list[Spawned]
) -> None:
    keeps.respawn()
    started[0].ended = -9
    keeps.respawn()
    assert len(started) == 2


def test_one_that_found_another_is_not_followed_at_once(
    keeps: Respawner, clock: Clock, started: list[Spawned]
) -> None:
    keeps.respawn()
    started[0].ended = 0
    keeps.respawn()
    assert len(started) == 1
    clock.now += respawn._RESPAWN_S
    keeps.respawn()
    assert len(started) == 2


def test_those_that_keep_dying_are_not_followed_at_once(
    keeps: Respawner, clock: Clock, started: list[Spawned]
) -> None:
    for _ in range(10):
        keeps.respawn()
        keeps.connected()
        started[-1].ended = -9
    assert len(started) == respawn._AT_ONCE
    clock.now += respawn._RESPAWN_S
    keeps.respawn()
    assert len(started) == respawn._AT_ONCE + 1


def test_who_has_just_connected_connects_again_at_once(
    keeps: Respawner, clock: Clock, started: list[Spawned]
) -> None:
    tries = []

    class Client:
        def connect(self) -> None:
            tries.append(clock.now)
            keeps.connected()

    client = Client()
    for count in (1, 2, 3):
        keeps.reconnect(client.connect)
        assert keeps._thread is not None
        keeps._thread.join(30)
        assert len(tries) == count


@pytest.fixture
def supervisor(
    directory: Path, clock: Clock, caplog: pytest.LogCaptureFixture
) -> Iterator[Supervisor]:
    caplog.set_level(logging.ERROR)
    config = SupervisorConfig(capacity=65536, gc_interval_s=1e6, ttl_s=1e6)
    found = Supervisor(RuntimeDirectory(directory), config, [])
    yield found
    found._close()
    found._selector.close()
    found._woken.close()
    found._waker.close()


def is_aborted(session: Session) -> bool:
    """Whether its stream has been ended for its producer."""
    return session.reader.producer_state is State.ABORTED


def test_a_worker_that_dies_before_it_has_come_back_is_not_waited_for(
    supervisor: Supervisor, clock: Clock
) -> None:
    """It has no connection that could end: its streams are looked at all the time."""
    while clock.now < 1000 + RETURN_S - ROOM_S:
        session, locked = supervisor._registry.create(bytes(32), 'c', None, epoch=7)
        supervisor._timers.run()
        assert not is_aborted(session)
        os.close(locked)
        clock.now += ROOM_S
        supervisor._timers.run()
        assert is_aborted(session)


def test_a_worker_whose_locks_are_let_go_after_its_connection_is_not_waited_for(
    supervisor: Supervisor, clock: Clock
) -> None:
    """The kernel closes one after the other what a process had, and takes its time."""

    def serve() -> None:
        for key, mask in supervisor._selector.select(30):
            key.data(key.fileobj, mask)

    clock.now += RETURN_S
    with socket.socket(socket.AF_UNIX) as sock:
        sock.connect(str(supervisor._directory.socket))
        sock.sendall(encode({'op': 'hello', 'pid': os.getpid(), 'masters': []}))
        serve()
        serve()
        (connection,) = supervisor._connections
        session, locked = supervisor._registry.create(
            bytes(32), 'c', None, epoch=connection.epoch
        )
        supervisor._timers.run()
    serve()
    assert not supervisor._connections
    supervisor._timers.run()
    assert not is_aborted(session)
    os.close(locked)
    clock.now += DYING_S
    supervisor._timers.run()
    assert is_aborted(session)


def test_a_successor_ends_dead_streams_before_anything_else(
    directory: Path, supervisor: Supervisor, clock: Clock
) -> None:
    """Time has not moved: it is the first thing that it does."""
    session, locked = supervisor._registry.create(bytes(32), 'c', None, epoch=7)
    os.close(locked)
    supervisor._timers.run()
    assert is_aborted(session)


def test_a_thread_that_cannot_be_started_is_not_waited_for(
    keeps: Respawner, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else the process could not leave."""

    def fail(_: object) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, 'start', fail)
    with pytest.raises(RuntimeError, match='start'):
        keeps.reconnect(lambda: None)
    monkeypatch.undo()
    keeps.close()
