"""Damage: whatever a header holds, it is refused, or used without harm."""

from __future__ import annotations

import contextlib
import json
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from shmstream import clock
from shmstream.errors import LayoutMismatch, ShmstreamError
from shmstream.ids import NOBODY, digest
from shmstream.memory.directory import RuntimeDirectory
from shmstream.memory.new_segment import new_segment
from shmstream.memory.segment import Segment
from shmstream.memory.segment_writer import segment_writer
from shmstream.memory.worker_table import WorkerTable
from shmstream.ring.layout import (
    B_PLACES,
    HEADER_BYTES,
    W_COMPLETED,
    W_DROPPED,
    W_HEAD,
    W_RESERVED,
    W_STATE,
)
from shmstream.ring.ring import RingReader, RingWriter
from shmstream.ring.state import State
from shmstream.stream_end import end_stream
from shmstream.supervisor.config import SupervisorConfig
from shmstream.supervisor.registry import Registry
from shmstream.wakeups.hub_watch import Watch
from tests.memory.segments import create

CAPACITY = 8192

Damage = dict[int, int]
"""Values of header words."""

values = st.one_of(
    st.integers(0, (1 << 64) - 1),
    st.sampled_from(
        [0, 1, 5, CAPACITY, 1 << 32, 1 << 63, (1 << 63) - 1, (1 << 64) - 1]
    ),
)
words = st.one_of(st.integers(0, HEADER_BYTES // 8 - 1), st.integers(0, 20))
damages = st.dictionaries(words, values, min_size=1, max_size=6)
quick = settings(deadline=None, print_blob=True, max_examples=300)


@contextlib.contextmanager
def scratch() -> Iterator[Path]:
    """A new directory; hypothesis calls a test many times, a fixture but once."""
    with tempfile.TemporaryDirectory() as name:
        yield Path(name)


def spoil(segment: Segment, damage: Damage) -> None:
    for index, value in damage.items():
        segment.words[index] = value


def use_as_reader(segment: Segment) -> None:
    """All that a reader does; what is told by an exception of ours is told."""
    _ = segment.conv_id, segment.owner, segment.content_type, segment.created_at_ns
    _ = segment.cancelled, segment.evicted
    segment.followers.everywhere(lambda slot: slot)
    segment.places(bytes(segment.view[B_PLACES]), lambda slot: slot)
    reader, watch = RingReader(segment.view), Watch(segment, lambda watch, here: True)
    watch.followers = 2
    head, dropped = reader.total_bytes, reader.dropped_prefix
    _ = reader.completed_at_ns, reader.reserved
    with contextlib.suppress(ShmstreamError):
        _ = reader.state
    for offset in {0, 1, dropped, dropped + 1, head, head + 1, (1 << 63) - 1}:
        for limit in (0, 1, 1 << 62):
            with contextlib.suppress(ShmstreamError):
                assert len(reader.read(offset, limit)) <= CAPACITY
        with contextlib.suppress(ShmstreamError):
            assert len(watch.read(offset)) <= CAPACITY


def end_as_supervisor(segment: Segment, path: Path) -> None:
    """What the supervisor does to a stream whose producer has died."""
    with path.open('r+b') as file:
        writer = segment_writer(segment, file.fileno())
        end_stream(segment, writer, State.ABORTED, 'the producer has died')
    assert RingReader(segment.view).producer_state is State.ABORTED


@given(damage=damages)
@example({W_STATE: 5})
@example({W_HEAD: (1 << 64) - 1})
@example({W_HEAD: 0, W_DROPPED: (1 << 64) - 1})
@example({W_RESERVED: (1 << 64) - 1, W_HEAD: (1 << 64) - 1})
@quick
def test_a_damaged_header_is_refused_or_does_no_harm(damage: Damage) -> None:
    with scratch() as folder:
        path = folder / 'segment'
        made, fd = create(path, CAPACITY)
        os.close(fd)
        RingWriter(made.view).append(b'x' * 10_000)
        spoil(made, damage)
        try:
            segment = Segment.attach(path)
        except LayoutMismatch:
            return
        use_as_reader(segment)
        end_as_supervisor(segment, path)
        use_as_reader(segment)


@given(flips=st.dictionaries(st.integers(0, 4095), st.integers(0, 255), min_size=1))
@quick
def test_damaged_bytes_are_refused_or_do_no_harm(flips: dict[int, int]) -> None:
    with scratch() as folder:
        path = folder / 'segment'
        made, fd = create(path, CAPACITY, conv_id='Ärger' * 20)
        os.close(fd)
        for at, byte in flips.items():
            made.view[at] = byte
        try:
            segment = Segment.attach(path)
        except LayoutMismatch:
            return
        use_as_reader(segment)


@given(size=st.integers(0, 3 * CAPACITY))
@quick
def test_a_file_of_any_other_size_is_refused(size: int) -> None:
    if size == HEADER_BYTES + CAPACITY:
        return
    with scratch() as folder:
        path = folder / 'segment'
        _, fd = create(path, CAPACITY)
        os.close(fd)
        os.truncate(path, size)
        with pytest.raises(LayoutMismatch):
            Segment.attach(path)


# -- a supervisor that takes over a damaged directory ----------------------------------


def session(directory: RuntimeDirectory, conv_id: str) -> Segment:
    path = directory.segment(digest(NOBODY, conv_id))
    segment, fd = new_segment(
        path,
        capacity=CAPACITY,
        generation=9,
        created=clock.Moment(1, 1, 1),
        producer_epoch=0,
        owner=NOBODY,
        conv_id=conv_id.encode(),
    )
    os.close(fd)
    writer = RingWriter(segment.view)
    writer.append(b'kept')
    writer.finish(State.COMPLETE, clock.moment())
    return segment


def take_over(directory: RuntimeDirectory) -> list[str]:
    """Do what a new supervisor does in its first minutes; return whom it serves."""
    table = WorkerTable.create(directory.path / 'workers', made_directory=True)
    config = SupervisorConfig(max_sessions=2, max_memory=1 << 30)
    registry = Registry(directory, config, table)
    registry.adopt()
    registry.finish_dead()
    registry.collect()
    registry.memory()
    registry.describe(registry.everything())
    there = registry.describe(registry.lookup(NOBODY, ['good', 'bad']))
    found = [json.loads(described)['conversation_id'] for described in there]
    _, fd = registry.create(NOBODY, 'new', None, 5)
    os.close(fd)
    registry.close()
    return found + os.listdir(directory.sessions)


@given(damage=damages)
@example({W_STATE: 5})
@example({W_STATE: 1, W_HEAD: (1 << 64) - 1})
@example({W_STATE: 1, W_RESERVED: 1 << 63})
@example({W_COMPLETED: (1 << 64) - 1})
@settings(parent=quick, max_examples=100)
def test_a_damaged_session_does_not_stop_a_supervisor(damage: Damage) -> None:
    with scratch() as folder:
        directory = RuntimeDirectory(folder / 'run')
        directory.create()
        session(directory, 'good')
        spoil(session(directory, 'bad'), damage)
        assert take_over(directory) in (['good'], ['good', 'bad'])


@pytest.mark.parametrize('name', ['0' * 40, f'.new-{"0" * 16}'])
@pytest.mark.parametrize('kind', ['file', 'directory', 'link', 'pipe'])
def test_things_that_are_no_sessions_do_not_stop_a_supervisor(
    tmp_path: Path, name: str, kind: str
) -> None:
    directory = RuntimeDirectory(tmp_path / 'run')
    directory.create()
    session(directory, 'good')
    path = directory.sessions / name
    match kind:
        case 'file':
            path.write_bytes(b'?' * 10_000)
        case 'directory':
            path.mkdir()
        case 'link':
            path.symlink_to(tmp_path)
        case 'pipe':
            os.mkfifo(path)
    assert take_over(directory) == ['good']


@pytest.mark.parametrize('name', ['notes.txt', '.new-0', '0' * 39, 'sessions'])
def test_what_cannot_be_ours_is_left_alone(tmp_path: Path, name: str) -> None:
    directory = RuntimeDirectory(tmp_path / 'run')
    directory.create()
    (directory.sessions / name).write_text('mine')
    assert take_over(directory) == [name]
    assert (directory.sessions / name).read_text() == 'mine'


def test_a_session_under_a_name_that_is_not_its_own_is_not_served(
    tmp_path: Path,
) -> None:
    directory = RuntimeDirectory(tmp_path / 'run')
    directory.create()
    session(directory, 'good')
    session(directory, 'bad')
    names = [directory.segment(digest(NOBODY, which)) for which in ('bad', 'good')]
    os.rename(*names)
    assert take_over(directory) == []
