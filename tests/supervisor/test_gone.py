"""F42: segments that have no session any more count until nobody can come to them."""

from __future__ import annotations

import contextlib
import errno
import gc
import os
import shutil
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from shmstream import NoRoom, StreamNotFound, Streams, clock
from shmstream.ids import NOBODY, digest
from shmstream.memory import mappings as mappings_module
from shmstream.memory.directory import RuntimeDirectory
from shmstream.memory.mappings import Mappings
from shmstream.memory.segment import hold
from shmstream.memory.segment_writer import segment_writer
from shmstream.memory.worker_table import WorkerTable
from shmstream.metrics.counts import Counts
from shmstream.ring.state import State
from shmstream.supervisor.config import SupervisorConfig
from shmstream.supervisor.gone import remove
from shmstream.supervisor.registry import Registry
from shmstream.supervisor.session import Session
from tests.supervisor.conftest import Start, status, supervised
from tests.support.child import Child, hear, say
from tests.support.leaks import wait_until
from tests.support.service import fresh_directory
from tests.support.session_files import held

LIMIT = 1 << 20
SIZE = 100_000


def keep_what_is_gone(directory: str, conv_id: str) -> None:
    """Have a stream, map it, evict it, and keep the mapping until told to end."""
    with Streams.attach(directory) as streams:
        producer = streams.create(conv_id)
        producer.write(bytes(SIZE // 2))
        consumer = streams.open(conv_id)
        producer.finish()
        streams.evict(conv_id)
        say(len(consumer.read()))
        hear()


def names(directory: Path) -> list[str]:
    return sorted(os.listdir(directory / 'sessions'))


def memory(directory: Path) -> int:
    """Bytes that the supervisor counts."""
    found = status(directory)
    assert found is not None
    return int(found['memory'])


def test_f42_a_successor_counts_what_is_gone_and_still_mapped(
    directory: Path, start: Start
) -> None:
    """1. Evicted, and mapped. 2. The supervisor is killed. 3. Another takes over."""
    first = start()
    with Child(keep_what_is_gone, directory, 'a') as reader:
        assert reader.hear() == SIZE // 2
        (name,) = names(directory)
        assert name.startswith('.gone-')
        counted = memory(directory)
        assert counted == held(directory) > SIZE // 2
        first.kill()
        first.wait()
        start()
        assert names(directory) == [name]
        assert memory(directory) == counted
        with Streams.attach(directory) as streams:
            assert streams.list() == []
            with pytest.raises(StreamNotFound):
                streams.open('a')
        reader.say('go')
        reader.wait()
    assert wait_until(lambda: names(directory) == [])
    assert wait_until(lambda: memory(directory) == 0)


def test_f42_after_a_crash_of_everything_nothing_of_it_is_left_on_a_disk(
    tmp_path: Path,
) -> None:
    directory = tmp_path / 'run'
    with supervised(directory, capacity=65536) as first:
        with Child(keep_what_is_gone, directory, 'a') as reader:
            reader.hear()
            with Streams.attach(directory) as streams:
                kept = streams.create('kept')
                kept.write(b'x')
                kept.finish()
            (name, _) = names(directory)
            assert name.startswith('.gone-')
            first.kill()
            first.wait()
            reader.kill()
        with supervised(directory):
            assert names(directory) == [digest(NOBODY, 'kept')]
            assert memory(directory) == held(directory)


@pytest.fixture
def there() -> Iterator[RuntimeDirectory]:
    """In memory: on a disk a file's blocks are more than its pages."""
    directory = RuntimeDirectory(fresh_directory())
    directory.create()
    yield directory
    shutil.rmtree(directory.path)


@pytest.fixture
def registry(there: RuntimeDirectory) -> Registry:
    table = WorkerTable.create(there.table, made_directory=True)
    registry = Registry(there, SupervisorConfig(max_memory=LIMIT), table)
    registry.look_at_room()
    return registry


def ended(registry: Registry, conv_id: str, size: int = SIZE) -> Session:
    session, locked = registry.create(NOBODY, conv_id, 1 << 20, 0)
    writer = segment_writer(session.segment, locked)
    writer.append(bytes(size))
    writer.finish(State.COMPLETE, clock.moment())
    os.close(locked)
    return session


@pytest.mark.parametrize('replaced', [False, True])
def test_f42_who_comes_between_its_removal_and_the_lock_maps_nothing_of_it(
    there: RuntimeDirectory,
    registry: Registry,
    monkeypatch: pytest.MonkeyPatch,
    replaced: bool,
) -> None:
    """1. A reader opens the file. 2. Nobody maps it: it goes. 3. He locks it."""
    first = ended(registry, 'a')
    path = there.segment(first.digest)
    mappings = Mappings(there.sessions, lambda: 0)
    late: list[int] = []

    def come_late(fd: int) -> None:
        if not late:
            late.append(os.fstat(fd).st_ino)
            registry.evict(first)
            if replaced:
                ended(registry, 'a', 1)
        hold(fd)

    monkeypatch.setattr(mappings_module, 'hold', come_late)
    if replaced:
        segment = mappings.attach(first.digest)
        assert segment.identity == (path.stat().st_dev, path.stat().st_ino)
        assert segment.reader.total_bytes == 1
    else:
        with pytest.raises(StreamNotFound):
            mappings.attach(first.digest)
    assert late
    gc.collect()
    mapped = [each.generation for each in mappings.everything()]
    assert len(mapped) == replaced
    assert first.segment.generation not in mapped
    registry.look_at_room()
    assert registry.memory() == held(there.path)
    registry.close()


def test_f42_who_comes_while_it_is_being_removed_is_told_that_it_is_not_there(
    there: RuntimeDirectory, registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = ended(registry, 'a')
    mappings = Mappings(there.sessions, lambda: 0)
    unlink, refused = os.unlink, []

    def try_first(path: Path) -> None:
        with pytest.raises(StreamNotFound):
            mappings.attach(session.digest)
        refused.append(path)
        unlink(path)

    with monkeypatch.context() as patched:
        patched.setattr(os, 'unlink', try_first)
        assert remove(there.segment(session.digest), Counts())
    assert len(refused) == 1
    assert mappings.everything() == []
    registry.close()


def test_f42_what_is_on_its_way_to_its_producer_counts(
    there: RuntimeDirectory, registry: Registry
) -> None:
    """The descriptor is in a socket and nowhere else: nobody has mapped it."""
    session, locked = registry.create(NOBODY, 'a', 1 << 20, 0)
    ours, theirs = socket.socketpair()
    with theirs:
        with ours:
            socket.send_fds(ours, [b'.'], [locked])
            os.close(locked)
        registry.evict(session)
        (name,) = names(there.path)
        assert name.startswith('.gone-')
        registry.look_at_room()
        assert registry.memory() == held(there.path) > 0
        # He takes it out, and may write: that counts as well.
        _, (fd,), _, _ = socket.recv_fds(theirs, 1, 1)
        segment_writer(session.segment, fd).append(bytes(SIZE))
        registry.look_at_room()
        assert registry.memory() == held(there.path) > SIZE
        os.close(fd)
    registry.look_at_room()
    assert names(there.path) == []
    assert registry.memory() == 0
    registry.close()


Link = Callable[..., None]


def full(times: int) -> Link:
    """A file system that has no room for a name, so many times."""
    left, link = [times], os.link

    def without_room(*arguments: Any, **options: Any) -> None:
        if left[0]:
            left[0] -= 1
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        link(*arguments, **options)

    return without_room


def test_f42_without_room_for_its_name_aside_what_has_ended_goes(
    there: RuntimeDirectory, registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    live, locked = registry.create(NOBODY, 'live', 1 << 20, 0)
    old = ended(registry, 'old')
    monkeypatch.setattr(os, 'link', full(1))
    new, second = registry.create(NOBODY, 'live', 1 << 20, 0)
    assert live.segment.cancelled
    assert live.segment.evicted
    assert old not in registry._index
    assert new in registry._index
    assert len(names(there.path)) == 2, 'the new one, and the one whose producer lives'
    for lock in (locked, second):
        os.close(lock)
    registry.close()


def test_f42_without_room_for_its_name_aside_what_is_to_be_replaced_may_go(
    there: RuntimeDirectory, registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    ended(registry, 'a')
    monkeypatch.setattr(os, 'link', full(1))
    new = ended(registry, 'a', 1)
    assert names(there.path) == [new.digest]
    registry.look_at_room()
    assert registry.memory() == held(there.path)
    registry.close()


def test_f42_without_any_room_for_its_name_aside_what_is_there_stays_as_it_was(
    there: RuntimeDirectory, registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    live, locked = registry.create(NOBODY, 'live', 1 << 20, 0)
    with monkeypatch.context() as patched:
        patched.setattr(os, 'link', full(1000))
        with pytest.raises(NoRoom):
            registry.create(NOBODY, 'live', 1 << 20, 0)
    assert live in registry._index
    assert not live.segment.cancelled
    assert not live.segment.evicted
    assert names(there.path) == [live.digest]
    segment_writer(live.segment, locked).append(b'x')
    os.close(locked)
    registry.close()


def test_f42_a_session_is_not_made_of_what_streams_have_taken_meanwhile(
    there: RuntimeDirectory, registry: Registry
) -> None:
    """1. Room is published. 2. A stream takes all of it. 3. Others begin."""
    table = WorkerTable.attach(there.table)
    session, locked = registry.create(NOBODY, 'greedy', 4 << 20, 0)
    locks = [locked]
    registry.look_at_room()
    left = [table.room]

    def take(size: int) -> bool:
        if size > left[0]:
            return False
        left[0] -= size
        return True

    writer = segment_writer(session.segment, locked, take)
    with contextlib.suppress(NoRoom):
        while writer.head < LIMIT:
            writer.append(bytes(1000))
    with contextlib.suppress(NoRoom):
        while len(locks) < 100:
            _, locked = registry.create(NOBODY, f'c{len(locks)}', 65536, 0)
            locks.append(locked)
    assert held(there.path) <= LIMIT
    assert LIMIT - held(there.path) < LIMIT // 16
    for lock in locks:
        os.close(lock)
    registry.close()


def test_f42_an_extent_is_taken_in_pages(
    there: RuntimeDirectory, registry: Registry
) -> None:
    session, locked = registry.create(NOBODY, 'a', 70_001, 0)
    before, taken = held(there.path), []

    def take(size: int) -> bool:
        taken.append(size)
        return True

    writer = segment_writer(session.segment, locked, take)
    for _ in range(70):
        writer.append(bytes(1001))
    assert held(there.path) - before == sum(taken)
    os.close(locked)
    registry.close()
