"""What goes wrong in the middle: a replacement, a start, the end."""

from __future__ import annotations

import errno
import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from shmstream import SupervisorConfig, clock
from shmstream.ids import NOBODY
from shmstream.memory.directory import RuntimeDirectory
from shmstream.ring.state import State
from shmstream.supervisor.leftovers import Leftovers
from shmstream.supervisor.server import Supervisor
from shmstream.wakeups.pipe import PIPE_PREFIX
from tests.support.registry import fresh_registry


def test_f42_what_could_not_be_replaced_is_still_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    directory = RuntimeDirectory(tmp_path / 'run')
    registry, _ = fresh_registry(directory)
    first, lock = registry.create(NOBODY, 'c', 65536, 0)
    held = registry.memory()
    with monkeypatch.context() as patched:
        patched.setattr(os, 'rename', failing)
        with pytest.raises(OSError, match='Input/output'):
            registry.create(NOBODY, 'c', 65536, 0)
    assert os.listdir(directory.sessions) == [first.digest]
    assert registry.find(NOBODY, 'c', None, clock.now_ns()) is first
    assert registry.memory() == held
    assert first.segment.cancelled
    assert not first.segment.evicted
    # It ends with its producer, and is replaced the next time.
    os.close(lock)
    assert registry.finish_dead() == 1
    assert first.reader.producer_state is State.CANCELLED
    _, lock = registry.create(NOBODY, 'c', 65536, 0)
    os.close(lock)
    assert first.segment.evicted
    registry.close()
    assert os.listdir(directory.sessions) == []


def failing(*_: Any) -> None:
    raise OSError(errno.EIO, os.strerror(errno.EIO))


def test_f22_a_directory_that_its_predecessor_removed_is_removed_at_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    directory = RuntimeDirectory(tmp_path / 'run')
    # The predecessor's: it removes it between two steps of its successor's start.
    directory.make()
    real_open: Callable[..., int] = os.open
    opened: list[Path] = []

    def remove_first(path: Any, *arguments: Any, **options: Any) -> int:
        if path == directory.lock and not opened:
            opened.append(path)
            directory.path.rmdir()
        return real_open(path, *arguments, **options)

    monkeypatch.setattr(os, 'open', remove_first)
    supervisor = Supervisor(directory, SupervisorConfig(), [])
    assert opened
    run_to_its_end(supervisor)
    assert not directory.path.exists()


def run_to_its_end(supervisor: Supervisor) -> None:
    supervisor.stop()
    assert supervisor.run()
    # What is left of it goes with its process, which is ours.
    for left in (supervisor._woken, supervisor._waker, supervisor._selector):
        left.close()


def test_f22_a_directory_that_one_made_who_did_not_serve_is_removed_at_the_end(
    tmp_path: Path,
) -> None:
    """Of two that start at once, one makes the directory and the other one serves."""
    directory = RuntimeDirectory(tmp_path / 'run')
    directory.make()
    run_to_its_end(Supervisor(directory, SupervisorConfig(), []))
    assert not directory.path.exists()


@pytest.mark.parametrize('when', ['before', 'after'])
def test_f22_what_goes_while_it_is_looked_at_stops_no_cleaning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    """Whoever removes it, and when: before it is looked at, or just then."""
    directory = RuntimeDirectory(tmp_path / 'run')
    directory.make()
    file, pipe = directory.settings, directory.path / f'{PIPE_PREFIX}1'
    looks: list[Path] = []
    for name in ('stat', 'lstat'):
        real: Callable[..., Any] = getattr(os, name)

        def look(
            path: Any, *arguments: Any, real: Any = real, **options: Any
        ) -> os.stat_result:
            goes = path in (file, pipe) and path not in looks
            if goes and when == 'before':
                os.unlink(path)
            try:
                found: os.stat_result = real(path, *arguments, **options)
                return found
            finally:
                if goes:
                    looks.append(path)
                    if when == 'after':
                        os.unlink(path)

        monkeypatch.setattr(os, name, look)
    file.touch()
    os.mkfifo(pipe)
    leftovers = Leftovers()
    leftovers.remove_file(file)
    leftovers.remove_bells(directory, 0)
    leftovers.report()
    assert set(looks) == {file, pipe}
    assert os.listdir(directory.path) == []


def test_one_stream_that_cannot_be_ended_does_not_keep_the_others_live(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    registry, _ = fresh_registry(RuntimeDirectory(tmp_path / 'run'))
    sessions = []
    for name in ('bad', 'good', 'good too'):
        session, lock = registry.create(NOBODY, name, 65536, 0)
        os.close(lock)
        sessions.append(session)
    bad, *good = sessions
    whole = registry._finishing.finish

    def finish(session: Any) -> bool:
        if session is bad:
            raise ValueError('a mistake')
        return whole(session)

    monkeypatch.setattr(registry._finishing, 'finish', finish)
    with caplog.at_level(logging.ERROR):
        assert registry.finish_dead() == 2
    assert all(session.reader.finished for session in good)
    assert 'a mistake' in caplog.text
    monkeypatch.undo()
    assert registry.finish_dead() == 1
    registry.close()
