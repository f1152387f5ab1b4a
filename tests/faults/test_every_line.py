"""F07, F08, F13: death at every single line of a write, and of making a stream.

A random kill rarely hits what matters: a write is a microsecond. Here it is hit at each
of its lines in turn, by the kernel's SIGKILL.
"""

from __future__ import annotations

import itertools
import json
import os
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from shmstream import Consumer, Streams, clock
from shmstream.ids import NOBODY, digest
from shmstream.memory import new_segment
from shmstream.memory.directory import GONE_PREFIX, RuntimeDirectory
from shmstream.memory.segment import Segment, open_segment
from shmstream.memory.segment_writer import segment_writer
from shmstream.memory.worker_table import WorkerTable
from shmstream.producer import Producer
from shmstream.ring.layout import B_PLACES
from shmstream.ring.ring import RingReader, RingWriter
from shmstream.ring.state import State
from shmstream.supervisor.creation import Creation
from shmstream.supervisor.eviction import Eviction
from shmstream.supervisor.gone import Gone, remove
from shmstream.supervisor.index import Index
from shmstream.supervisor.segment_words import SegmentWords
from shmstream.wakeups.producer_side import Marker
from shmstream.wakeups.ring_others import Bells
from tests.api.following import Aside, in_a_thread
from tests.support.child import Child, hear, say
from tests.support.dying import die_at, forked
from tests.support.leaks import wait_until
from tests.support.registry import taken_over
from tests.support.worker import line

CAPACITY = 5000
"""No multiple of an event: the last write passes the end of the ring."""

BEFORE = b''.join(map(line, range(400)))
LAST = b''.join(map(line, range(400, 680)))

# -- a producer ------------------------------------------------------------------------


def produce(directory: str) -> None:
    """Have a child write, and die at the line that the test says, until it survives."""
    while forked(partial(_write, directory, int(hear()))) is False:
        say('killed')
    say('survived')


def _write(directory: str, number: int) -> None:
    with Streams.attach(directory) as streams:
        producer = streams.create(f'c{number}', capacity=CAPACITY)
        for at in range(0, len(BEFORE), 1000):
            producer.write(BEFORE[at : at + 1000])
        say('written')
        hear()
        marker = (Marker.mark, Marker.ring, Marker._learn, Bells.ring)
        die_at(number, Producer.write, RingWriter.append, *marker)
        producer.write(LAST)


def sleeps(consumer: Consumer) -> bool:
    """Whether anybody waits for the stream's next byte."""
    return any(consumer._segment.view[B_PLACES])


def test_f07_f08_a_producer_killed_at_any_line_of_a_write_leaves_whole_events(
    directory: Path, streams: Streams
) -> None:
    """A reader sleeps meanwhile: it gets all of the write or none, and the end."""
    outcomes = {0: 0, len(LAST): 0}
    with Child(produce, directory) as child:
        for number in itertools.count():
            child.say(number)
            assert child.hear() == 'written'
            consumer = streams.open(f'c{number}')
            aside = Aside(in_a_thread, consumer.follow(len(BEFORE)))
            assert wait_until(partial(sleeps, consumer))
            child.say('go')
            outcome = child.hear()
            found = aside.result()
            if outcome == 'survived':
                break
            written, error, _ = found.partition(b'event: error\ndata: ')
            assert error
            assert consumer.state is State.ABORTED
            assert written == LAST[: len(written)]
            outcomes[len(written)] += 1
            kept = consumer.dropped_prefix
            rest = consumer.read(kept)
            assert rest == (BEFORE + found)[kept:]
            assert rest.startswith((BEFORE + written)[kept : kept + 200])
    # Before it was published, and after.
    assert outcomes[0] > 10
    assert outcomes[len(LAST)] > 3


# -- the supervisor --------------------------------------------------------------------


def make_streams(folder: str) -> None:
    """Replace a live stream, dying at one line after the other; say what is left."""
    for number in itertools.count():
        directory = RuntimeDirectory(Path(folder) / str(number))
        directory.create()
        WorkerTable.create(directory.table, made_directory=True)
        old, lock = _make(directory)
        survived = forked(partial(_replace_and_die, directory, number))
        say(['survived' if survived else 'killed', _look(directory, old, lock)])
        os.close(lock)
        if survived:
            return


def _make(directory: RuntimeDirectory) -> tuple[Segment, int]:
    session, lock = taken_over(directory).create(NOBODY, 'c', CAPACITY, 0)
    writer = segment_writer(session.segment, lock)
    writer.append(b'old')
    writer.go_live()
    return session.segment, lock


def _replace_and_die(directory: RuntimeDirectory, number: int) -> None:
    registry = taken_over(directory)
    die_at(
        number,
        *(Creation.create, SegmentWords._mark, Index.add, Index.drop),
        *(Creation._link_aside, Gone.link, Gone.keep, remove),
        *(Eviction.make_room, new_segment.new_segment, new_segment._write_header),
    )
    registry.create(NOBODY, 'c', CAPACITY, 0)


def gone(directory: RuntimeDirectory) -> list[str]:
    """The generations that have been put aside."""
    names = os.listdir(directory.sessions)
    return [n.removeprefix(GONE_PREFIX) for n in names if n.startswith(GONE_PREFIX)]


def _look(directory: RuntimeDirectory, old: Segment, lock: int) -> dict[str, Any]:
    """Take over as a successor does; what there is then."""
    registry = taken_over(directory)
    registry.finish_dead()
    (found,) = map(json.loads, registry.describe(registry.lookup(NOBODY, ['c'])))
    kept = found['generation'] == old.generation
    segment_writer(old, lock).append(b' and more')
    seen = {
        'kept': kept,
        'cancelled': old.cancelled,
        'state': found['state'],
        # The one that was replaced counts until its producer lets go of it.
        'files': [
            n for n in os.listdir(directory.sessions) if not n.startswith(GONE_PREFIX)
        ]
        == [digest(NOBODY, 'c')],
        'counted': gone(directory) == ([] if kept else [old.generation]),
    }
    # And it can be replaced as ever.
    _, fd = registry.create(NOBODY, 'c', CAPACITY, 0)
    os.close(fd)
    registry.close()
    return seen


def test_f13_f14_a_supervisor_killed_at_any_line_of_making_a_stream_leaves_one(
    tmp_path: Path,
) -> None:
    """It is the old stream or the new one, never none, both or half of one."""
    kept, replaced = 0, 0
    with Child(make_streams, tmp_path) as child:
        while True:
            outcome, seen = child.hear()
            assert seen['files'], seen
            assert seen['counted'], seen
            if seen['kept']:
                kept += 1
                assert seen['state'] == ('cancelled' if seen['cancelled'] else 'live')
            else:
                replaced += 1
                # Whose producer nobody can reach any more has been told to stop.
                assert seen['cancelled']
                # Nobody has got the new one: it has no producer.
                assert seen['state'] == 'aborted'
            if outcome == 'survived':
                break
    assert kept > 30
    assert replaced > 10


def test_a_stream_that_ends_while_the_supervisor_comes_for_its_lock_ends_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was live when the supervisor looked, and complete when the lock was free."""
    directory = RuntimeDirectory(tmp_path / 'run')
    directory.create()
    WorkerTable.create(directory.table, made_directory=True)
    segment, lock = _make(directory)
    registry = taken_over(directory)

    def end_first(path: Path) -> int:
        segment_writer(segment, lock).finish(State.COMPLETE, clock.moment())
        os.close(lock)
        return open_segment(path)

    monkeypatch.setattr('shmstream.supervisor.finishing.open_segment', end_first)
    assert registry.finish_dead() == 0
    reader = RingReader(segment.view)
    assert reader.state is State.COMPLETE
    assert reader.read(0) == b'old'
