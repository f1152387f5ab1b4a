"""What has ended is there until the pending stream of its id has begun."""

from __future__ import annotations

import gc
import itertools
import json
import os
import shutil
import signal
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from shmstream import State, StreamNotFound, Streams, clock
from shmstream.ids import NOBODY, digest
from shmstream.memory import new_segment
from shmstream.memory.directory import RuntimeDirectory
from shmstream.memory.segment_writer import segment_writer
from shmstream.memory.worker_table import WorkerTable
from shmstream.ring.layout import W_CANCELLED
from shmstream.ring.ring import RingWriter
from shmstream.supervisor.creation import Creation
from shmstream.supervisor.gone import Gone, remove
from shmstream.supervisor.index import Index
from shmstream.supervisor.predecessors import Predecessors
from shmstream.supervisor.registry import Registry
from shmstream.supervisor.segment_words import SegmentWords
from shmstream.supervisor.session import Session
from tests.supervisor.conftest import Start
from tests.support.child import Child, hear, say
from tests.support.dying import die_at, forked
from tests.support.leaks import wait_until
from tests.support.registry import taken_over

OLD = b'data: old\n\n'


def finished(streams: Streams, conv_id: str = 'c') -> str:
    """Make a stream that has ended; returns its generation."""
    with streams.create(conv_id) as producer:
        producer.write(OLD)
    return producer.generation


def described(streams: Streams, conv_id: str = 'c') -> list[tuple[str, str]]:
    """Generation and state of what a look-up finds."""
    found = streams.lookup([conv_id])
    return [(each['generation'], each['state']) for each in found]


def is_old(streams: Streams, generation: str) -> bool:
    """Whether the old stream is found again."""
    return described(streams) == [(generation, 'complete')]


def assert_whole(streams: Streams, generation: str) -> None:
    consumer = streams.open('c')
    assert (consumer.generation, consumer.read()) == (generation, OLD)
    assert not consumer.evicted


def files(directory: Path) -> list[str]:
    return sorted(os.listdir(directory / 'sessions'))


def test_f64_what_has_ended_is_there_again_if_the_new_one_is_withdrawn(
    streams: Streams, directory: Path
) -> None:
    old = finished(streams)
    reader = streams.open('c')
    for _ in range(3):
        new = streams.create('c', pending=True)
        # Whoever asks meanwhile sees the pending one, and whoever reads reads on.
        assert described(streams) == [(new.generation, 'pending')]
        assert streams.open('c').generation == new.generation
        assert (reader.read(), reader.evicted) == (OLD, False)
        assert streams.withdraw('c', generation=new.generation)
        new.cancel()
        assert is_old(streams, old)
        assert_whole(streams, old)
    # Nobody maps those that came to nothing.
    del new
    assert wait_until(lambda: files(directory) == [digest(NOBODY, 'c')])


def test_f64_what_has_ended_goes_when_the_new_one_begins(
    streams: Streams, directory: Path
) -> None:
    finished(streams)
    with streams.create('c', pending=True) as new:
        new.begin()
        new.write(b'data: new\n\n')
    assert described(streams) == [(new.generation, 'complete')]
    assert wait_until(lambda: files(directory) == [digest(NOBODY, 'c')])


@pytest.mark.parametrize('how', ['cancel', 'abort', 'drop'])
def test_f64_it_is_there_again_however_the_pending_one_ends(
    streams: Streams, how: str
) -> None:
    old = finished(streams)
    new = streams.create('c', pending=True)
    if how == 'cancel':
        new.cancel()
    elif how == 'abort':
        new.abort('the upstream is not there')
    else:
        del new
    assert wait_until(lambda: is_old(streams, old))
    assert_whole(streams, old)


def test_f64_a_stream_that_begins_and_fails_at_once_is_an_answer(
    streams: Streams,
) -> None:
    finished(streams)
    new = streams.create('c', pending=True)
    new.begin()
    new.abort('at once')
    (found,) = described(streams)
    assert found == (new.generation, 'aborted')
    reader = streams.open('c')
    assert not wait_until(lambda: reader.evicted, 1.0)
    assert described(streams) == [found]


def test_f64_a_live_one_is_replaced_there_and_then(streams: Streams) -> None:
    live = streams.create('c')
    live.write(OLD)
    new = streams.create('c', pending=True)
    assert not live.write(OLD)
    assert streams.withdraw('c', generation=new.generation)
    assert described(streams) == []
    with pytest.raises(StreamNotFound):
        streams.open('c')


def test_f64_a_second_pending_one_keeps_what_the_first_kept(streams: Streams) -> None:
    old = finished(streams)
    first = streams.create('c', pending=True)
    second = streams.create('c', pending=True)
    assert first.is_cancelled
    assert described(streams) == [(second.generation, 'pending')]
    # Late: it concerns no newer one.
    assert not streams.withdraw('c', generation=first.generation)
    first.cancel()
    assert streams.withdraw('c', generation=second.generation)
    assert is_old(streams, old)


def test_f64_a_delete_takes_both(streams: Streams, directory: Path) -> None:
    old = finished(streams)
    new = streams.create('c', pending=True)
    assert streams.evict('c')
    assert new.is_cancelled
    new.finish()
    assert described(streams) == []
    assert not streams.withdraw('c', generation=new.generation)
    del new
    assert wait_until(lambda: files(directory) == [])
    # One of the old one alone leaves the new one, and nothing to come back.
    old = finished(streams)
    new = streams.create('c', pending=True)
    assert streams.evict('c', generation=old)
    assert described(streams) == [(new.generation, 'pending')]
    assert streams.withdraw('c', generation=new.generation)
    assert described(streams) == []


def test_f64_what_is_kept_goes_for_room_as_ever(directory: Path, start: Start) -> None:
    start(max_sessions=2)
    with Streams.attach(directory) as streams:
        finished(streams)
        finished(streams, 'other')
        # Of the two that have ended, it is the one that ended first.
        new = streams.create('c', pending=True)
        assert described(streams, 'other') != []
        assert streams.withdraw('c', generation=new.generation)
        assert described(streams) == []


def test_f64_a_worker_that_dies_before_the_answer_leaves_what_was_there(
    streams: Streams, directory: Path
) -> None:
    old = finished(streams)
    with Child(begin_pending, directory) as child:
        generation = child.hear()
        assert described(streams) == [(generation, 'pending')]
        child.kill()
        assert wait_until(lambda: is_old(streams, old))
    assert_whole(streams, old)


def begin_pending(directory: str) -> None:
    with Streams.attach(directory) as streams:
        producer = streams.create('c', pending=True)
        say(producer.generation)
        hear()


@pytest.mark.parametrize('ends', ['begins', 'is withdrawn'])
def test_f64_a_successor_of_the_supervisor_keeps_what_is_kept(
    directory: Path, start: Start, ends: str
) -> None:
    supervisor = start()
    with Streams.attach(directory) as streams:
        old = finished(streams)
        new = streams.create('c', pending=True)
        supervisor.send_signal(signal.SIGKILL)
        supervisor.wait()
        start()
        assert wait_until(lambda: described(streams) == [(new.generation, 'pending')])
        if ends == 'begins':
            new.begin()
            name = digest(NOBODY, 'c')
            assert wait_until(lambda: files(directory) == [name])
            new.finish()
            assert described(streams) == [(new.generation, 'complete')]
        else:
            assert streams.withdraw('c', generation=new.generation)
            new.cancel()
            assert is_old(streams, old)
            assert_whole(streams, old)


# -- at every line ---------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path: Path) -> Callable[[], RuntimeDirectory]:
    """Make directories in which an ended stream is."""
    numbers = itertools.count()

    def make() -> RuntimeDirectory:
        directory = RuntimeDirectory(tmp_path / str(next(numbers)))
        directory.create()
        WorkerTable.create(directory.table, made_directory=True)
        return directory

    return make


def make_old(registry: Registry, conv_id: str = 'c') -> Session:
    session, lock = registry.create(NOBODY, conv_id, 65536, 0)
    session.segment.set_content_type('text/event-stream')
    writer = segment_writer(session.segment, lock)
    writer.append(OLD)
    writer.finish(State.COMPLETE, clock.moment())
    os.close(lock)
    return session


def found(registry: Registry, conv_id: str = 'c') -> list[Any]:
    keys = registry.lookup(NOBODY, [conv_id])
    return [json.loads(text) for text in registry.describe(keys)]


MAKING = (
    *(Creation.create, Creation._link_aside, Predecessors.keep, Gone.link),
    *(Index.add, Index.set_aside, SegmentWords._mark, new_segment.new_segment),
)


def test_f64_a_supervisor_killed_at_any_line_of_making_a_pending_one_keeps_the_old(
    folder: Callable[[], RuntimeDirectory],
) -> None:
    """Its producer never got it: it never began."""

    def make_and_die(directory: RuntimeDirectory, number: int) -> None:
        registry = taken_over(directory)
        die_at(number, *MAKING)
        registry.create(NOBODY, 'c', 65536, 0, pending=True)

    for number in itertools.count():
        directory = folder()
        old = make_old(taken_over(directory))
        survived = forked(partial(make_and_die, directory, number))
        registry = taken_over(directory)
        registry.finish_dead()
        (there,) = found(registry)
        assert there['generation'] == old.segment.generation
        assert there['state'] == 'complete'
        assert not old.segment.evicted
        assert os.listdir(directory.sessions) == [old.digest]
        registry.close()
        assert os.listdir(directory.sessions) == []
        if survived:
            break
    assert number > 30


ENDING = (
    *(Registry.withdraw, Registry.evict, Registry._expire, Registry._unlink),
    *(Predecessors.restore, Predecessors.settle, Gone.link, Gone.keep, Gone.put),
    *(Index.drop, Index.put_back, SegmentWords._mark, remove),
)


@pytest.mark.parametrize('how', ['withdraw', 'evict', 'begin'])
def test_f64_a_supervisor_killed_at_any_line_of_the_end_leaves_one_of_them(
    folder: Callable[[], RuntimeDirectory], how: str
) -> None:
    def end_and_die(directory: RuntimeDirectory, number: int) -> None:
        registry = taken_over(directory)
        die_at(number, *ENDING)
        session = registry.find(NOBODY, 'c', None, clock.now_ns())
        assert session is not None
        if how == 'withdraw':
            registry.withdraw(session)
        elif how == 'evict':
            registry.evict(session)
        else:
            registry.look_at_room()

    seen: set[str] = set()
    for number in itertools.count():
        directory = folder()
        registry = taken_over(directory)
        old = make_old(registry)
        new, lock = registry.create(NOBODY, 'c', 65536, 0, pending=True)
        if how == 'begin':
            RingWriter(new.segment.view).go_live()
        survived = forked(partial(end_and_die, directory, number))
        registry = taken_over(directory)
        registry.look_at_room()
        there = [each['generation'] for each in found(registry)]
        assert len(there) <= 1
        outcome = 'none'
        if there == [old.segment.generation]:
            outcome = 'old'
            assert not old.segment.evicted
            assert new.segment.cancelled
            assert new.segment.evicted
        elif there == [new.segment.generation]:
            outcome = 'new'
            assert not new.segment.evicted
        seen.add(outcome)
        left = [n for n in os.listdir(directory.sessions) if not n.startswith('.gone-')]
        kept = [n for n in left if n.startswith('.kept-')]
        assert len(left) - len(kept) == len(there)
        if kept:
            assert how != 'begin'
            assert outcome == 'new'
        os.close(lock)
        registry.close()
        assert os.listdir(directory.sessions) == []
        if survived:
            break
    last = {'withdraw': 'old', 'evict': 'none', 'begin': 'new'}[how]
    assert outcome == last
    allowed = {'withdraw': {'new', 'old'}, 'evict': {'new', 'none'}, 'begin': {'new'}}
    assert seen == allowed[how]


# -- files that somebody else has touched ----------------------------------------------


def test_f64_a_kept_file_that_is_removed_costs_what_was_kept_and_nothing_else(
    streams: Streams, directory: Path
) -> None:
    finished(streams)
    reader = streams.open('c')
    new = streams.create('c', pending=True)
    (kept,) = (directory / 'sessions').glob('.kept-*')
    kept.unlink()
    new.cancel()
    assert wait_until(lambda: described(streams) == [])
    assert reader.evicted
    other = finished(streams, 'other')
    pending = streams.create('other', pending=True)
    pending.cancel()
    assert wait_until(lambda: described(streams, 'other') == [(other, 'complete')])
    for pending_too in (True, False):
        with streams.create('c', pending=pending_too) as producer:
            if pending_too:
                producer.begin()
            producer.write(OLD)
        assert_whole(streams, producer.generation)


@pytest.mark.parametrize('how', ['withdraw', 'settle'])
def test_f64_nothing_is_left_of_a_successor_whose_kept_file_is_removed(
    folder: Callable[[], RuntimeDirectory], how: str
) -> None:
    directory = folder()
    registry = taken_over(directory)
    old = make_old(registry)
    new, lock = registry.create(NOBODY, 'c', 65536, 0, pending=True)
    directory.kept(old.segment.generation).unlink()
    if how == 'withdraw':
        registry.withdraw(new)
    else:
        new.segment.words[W_CANCELLED] = 1
        segment_writer(new.segment, lock).finish(State.CANCELLED, clock.moment())
    registry.finish_dead()
    assert (found(registry), len(registry)) == ([], 0)
    assert old.segment.evicted
    assert new.segment.evicted
    # The producer still maps it, or holds its lock: so it is counted.
    (left,) = os.listdir(directory.sessions)
    assert left.startswith('.gone-')
    os.close(lock)
    del new
    gc.collect()
    registry.look_at_room()
    assert os.listdir(directory.sessions) == []
    registry.close()


def test_f64_one_that_cannot_be_restored_stops_neither_the_others_nor_the_room(
    folder: Callable[[], RuntimeDirectory],
) -> None:
    directory = folder()
    registry = taken_over(directory)
    olds, locks = [], []
    for conv_id in ('c', 'd'):
        olds.append(make_old(registry, conv_id))
        new, lock = registry.create(NOBODY, conv_id, 65536, 0, pending=True)
        segment_writer(new.segment, lock).finish(State.CANCELLED, clock.moment())
        locks.append(lock)
    # A file cannot be renamed over a folder.
    (directory.sessions / olds[0].digest).unlink()
    (directory.sessions / olds[0].digest).mkdir()
    for lock in locks:
        os.close(lock)
    registry.look_at_room()
    (there,) = found(registry, 'd')
    assert there['generation'] == olds[1].segment.generation
    assert registry.memory() > 0
    with pytest.raises(IsADirectoryError):
        registry.finish_dead()
    # A successor of the supervisor, too, begins all the same.
    taken_over(directory)
    registry.close()
    shutil.rmtree(directory.sessions)
