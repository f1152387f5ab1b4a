"""Where no more can be mapped: what is new, and what a predecessor has left."""

from __future__ import annotations

import errno
import gc
import logging
import mmap
import os
import resource
import weakref
from pathlib import Path
from typing import Any

import pytest

from shmstream import NoRoom, clock
from shmstream.ids import NOBODY
from shmstream.memory import segment as segment_module
from shmstream.memory.directory import RuntimeDirectory
from shmstream.memory.mappings import Mappings
from shmstream.memory.segment_writer import segment_writer
from shmstream.memory.worker_table import WorkerTable
from shmstream.ring.layout import W_CANCELLED, W_EVICTED
from shmstream.ring.state import State
from shmstream.supervisor import process_limits
from shmstream.supervisor.config import SupervisorConfig
from shmstream.supervisor.registry import Registry
from shmstream.supervisor.session import Session
from tests.support.child import Child, say

CAPACITY = 65536
CONFIG = SupervisorConfig(capacity=CAPACITY, max_memory=1 << 32)


class Maps:
    """As many mappings as a process may have; those made before do not count."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.most = 1 << 30
        self.code = errno.ENOMEM
        self._there: weakref.WeakSet[mmap.mmap] = weakref.WeakSet()
        self._map = segment_module._map
        monkeypatch.setattr(segment_module, '_map', self._map_if_it_may)

    def _map_if_it_may(self, fd: int, size: int, writable: bool) -> mmap.mmap:
        if len(self._there) >= self.most:
            raise OSError(self.code, os.strerror(self.code))
        made = self._map(fd, size, writable)
        self._there.add(made)
        return made


@pytest.fixture
def maps(monkeypatch: pytest.MonkeyPatch) -> Maps:
    return Maps(monkeypatch)


@pytest.fixture
def there(tmp_path: Path) -> tuple[RuntimeDirectory, WorkerTable]:
    directory = RuntimeDirectory(tmp_path / 'run')
    directory.create()
    table = WorkerTable.create(directory.table, made_directory=True)
    table.take(0, 1, os.getpid())
    return directory, table


def made(registry: Registry, conv_id: str) -> int:
    return registry.create(NOBODY, conv_id, None, 1)[1]


def finish(session: Session | None, lock: int) -> None:
    assert session is not None
    segment_writer(session.segment, lock).finish(State.COMPLETE, clock.moment())
    os.close(lock)


def find(registry: Registry, conv_id: str) -> Session | None:
    return registry.find(NOBODY, conv_id, None, clock.now_ns())


@pytest.mark.parametrize('code', [errno.ENOMEM, errno.EMFILE, errno.ENFILE])
def test_f19_where_no_more_can_be_mapped_what_has_ended_goes(
    there: tuple[RuntimeDirectory, WorkerTable], maps: Maps, code: int
) -> None:
    directory, table = there
    registry = Registry(directory, CONFIG, table)
    maps.most, maps.code = 4, code
    locks = {conv_id: made(registry, conv_id) for conv_id in ('a', 'b', 'c', 'd')}
    with pytest.raises(NoRoom, match=os.strerror(code)):
        made(registry, 'e')
    for conv_id in ('b', 'c'):
        finish(find(registry, conv_id), locks.pop(conv_id))
    for conv_id in ('e', 'f'):
        locks[conv_id] = made(registry, conv_id)
    assert [i for i in 'abcdef' if find(registry, i)] == ['a', 'd', 'e', 'f']
    assert len(os.listdir(directory.sessions)) == 4
    for lock in locks.values():
        os.close(lock)
    registry.close()


def test_f19_a_producer_that_cannot_map_its_stream_is_told_that_there_is_no_room(
    there: tuple[RuntimeDirectory, WorkerTable], maps: Maps
) -> None:
    directory, table = there
    registry = Registry(directory, CONFIG, table)
    lock = made(registry, 'a')
    maps.most = 0
    with pytest.raises(NoRoom):
        Mappings(directory.sessions, lambda: 0).share_locked(lock)
    os.close(lock)
    registry.close()


def test_what_was_evicted_but_still_has_its_name_is_ended_and_told_of(
    there: tuple[RuntimeDirectory, WorkerTable], caplog: pytest.LogCaptureFixture
) -> None:
    """The predecessor died in between, and then the producer did."""
    caplog.set_level(logging.INFO, 'shmstream.streams')
    directory, table = there
    before = Registry(directory, CONFIG, table)
    lock = made(before, 'a')
    session = find(before, 'a')
    assert session is not None
    words, generation = session.segment.words, session.segment.generation
    words[W_CANCELLED] = words[W_EVICTED] = 1
    del before, session, words
    gc.collect()
    registry = Registry(directory, CONFIG, table)
    registry.adopt()
    assert find(registry, 'a') is None
    assert [path.name for path in directory.sessions.iterdir()] == [
        f'.gone-{generation}'
    ]
    assert not caplog.records
    os.close(lock)
    registry._gone.look()
    assert list(directory.sessions.iterdir()) == []
    (line,) = caplog.records
    assert generation in line.getMessage()


def crowd(registry: Registry) -> dict[str, int]:
    """Four that are written, a to d, and four that have ended, e to h in this order."""
    live = {conv_id: made(registry, conv_id) for conv_id in 'abcd'}
    for conv_id in 'efgh':
        lock = made(registry, conv_id)
        finish(find(registry, conv_id), lock)
    return live


def test_f19_a_successor_that_can_map_less_lets_go_of_what_ended_first(
    there: tuple[RuntimeDirectory, WorkerTable], maps: Maps
) -> None:
    directory, table = there
    live = crowd(Registry(directory, CONFIG, table))
    gc.collect()
    maps.most = 6
    successor = Registry(directory, CONFIG, table)
    successor.adopt()
    successor.look_at_room()
    # Which of those that ended were mapped before the rest came is not known.
    adopted = [conv_id for conv_id in 'abcdefgh' if find(successor, conv_id)]
    assert adopted[:4] == ['a', 'b', 'c', 'd']
    assert len(adopted) == 6
    assert len(os.listdir(directory.sessions)) == 6
    for lock in live.values():
        os.close(lock)
    assert successor.finish_dead() == 4
    successor.close()


def test_f19_what_a_successor_cannot_map_is_written_on_and_adopted_later(
    there: tuple[RuntimeDirectory, WorkerTable],
    maps: Maps,
    caplog: pytest.LogCaptureFixture,
) -> None:
    directory, table = there
    first = Registry(directory, CONFIG, table)
    live = crowd(first)
    # Those of their producers.
    segments = {conv_id: find(first, conv_id) for conv_id in live}
    del first
    gc.collect()
    successor = Registry(directory, CONFIG, table)
    # And those four, and two of the successor's own.
    maps.most = 4 + 2
    with caplog.at_level(logging.ERROR, 'shmstream.supervisor'):
        successor.adopt()
    assert caplog.messages == ['2 streams cannot be adopted yet: ' + os.strerror(12)]
    assert len(successor) == 2
    told = successor.describe(successor.lookup(NOBODY, list('abcdefgh')))
    assert len(told) == 2
    left = [conv_id for conv_id in live if f'"{conv_id}"' not in ''.join(told)]
    # Nothing is done to them, and nothing in their place.
    for conv_id in left:
        with pytest.raises(NoRoom):
            find(successor, conv_id)
        with pytest.raises(NoRoom):
            made(successor, conv_id)
        session = segments[conv_id]
        assert session is not None
        segment_writer(session.segment, live[conv_id]).append(b'goes on')
        assert not session.segment.cancelled
        assert not session.segment.evicted
        assert directory.segment(session.digest).exists()
        finish(session, live.pop(conv_id))
    successor.adopt_left()
    assert len(successor) == 2
    del session, segments
    gc.collect()
    successor.adopt_left()
    for conv_id in left:
        found = find(successor, conv_id)
        assert found is not None
        assert found.reader.total_bytes == len(b'goes on')
    for lock in live.values():
        os.close(lock)
    assert successor.finish_dead() == 2
    successor.close()
    assert os.listdir(directory.sessions) == []


def test_f19_what_cannot_be_adopted_is_removed_at_the_end(
    there: tuple[RuntimeDirectory, WorkerTable], maps: Maps
) -> None:
    directory, table = there
    live = crowd(Registry(directory, CONFIG, table))
    gc.collect()
    maps.most = 0
    successor = Registry(directory, CONFIG, table)
    successor.adopt()
    assert len(successor) == 0
    assert len(os.listdir(directory.sessions)) == 8
    successor.close()
    assert os.listdir(directory.sessions) == []
    for lock in live.values():
        os.close(lock)


def make_many(path: str) -> None:
    """A process whose address space ends makes streams that end."""
    directory = RuntimeDirectory(Path(path))
    directory.create()
    table = WorkerTable.create(directory.table, made_directory=True)
    table.take(0, 1, os.getpid())
    config = SupervisorConfig(max_memory=1 << 32)
    registry = Registry(directory, config, table)
    pages = int(Path('/proc/self/statm').read_text().split()[0])
    # Room for some twenty rings of 4 MiB.
    most = pages * mmap.PAGESIZE + (83 << 20)
    resource.setrlimit(resource.RLIMIT_AS, (most, most))
    for number in range(40):
        session, lock = registry.create(NOBODY, f'c{number}', None, 1)
        finish(session, lock)
    say(len(registry))
    registry.close()


def test_f19_an_address_space_that_ends_is_no_room(tmp_path: Path) -> None:
    with Child(make_many, tmp_path / 'run') as child:
        there = child.hear()
    assert 0 < there < 40


def test_f19_sessions_are_no_more_than_can_be_mapped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    proc = tmp_path / 'max_map_count'
    monkeypatch.setattr(process_limits, '_MAX_MAPS', proc)

    def descriptors(_: Any) -> tuple[int, int]:
        return resource.RLIM_INFINITY, resource.RLIM_INFINITY

    monkeypatch.setattr(resource, 'getrlimit', descriptors)
    proc.write_text('3200\n')
    config = SupervisorConfig(max_sessions=3100)
    assert process_limits.within_reach(config) is config
    assert caplog.messages == []
    assert (
        process_limits.within_reach(SupervisorConfig(max_sessions=3101)).max_sessions
        == 3100
    )
    assert caplog.messages == [
        '3101 sessions are more than can be mapped, as vm.max_map_count is 3200:'
        ' at most 3100'
    ]
    # Where it is not told, there is no such limit.
    proc.unlink()
    assert process_limits.within_reach(config) is config


def test_f19_sessions_are_no_more_than_there_are_descriptors(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Before Python 3.13, where each mapping keeps one."""
    monkeypatch.setattr(resource, 'getrlimit', lambda _: (800, 800))
    for version, most in (((3, 12), 700), ((3, 13), 4096)):
        monkeypatch.setattr('sys.version_info', version)
        assert process_limits.within_reach(SupervisorConfig()).max_sessions == most
    assert len(caplog.messages) == 1
