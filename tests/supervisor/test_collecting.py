"""What goes, and when: the TTL, the limits, and what was asked for."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from shmstream import NoRoom, State, StreamNotFound, Streams
from shmstream.memory.reservation import MAX_EXTENT
from shmstream.memory.room_share import RoomShare
from shmstream.memory.worker_table import WorkerTable
from tests.supervisor.conftest import Start
from tests.support.leaks import wait_until
from tests.support.session_files import held

Attach = Callable[..., Streams]


@pytest.fixture
def attach(directory: Path, start: Start) -> Iterator[Attach]:
    """Start a supervisor with these settings, and join it."""
    with ExitStack() as stack:

        def make(**config: float) -> Streams:
            start(**config)
            return stack.enter_context(Streams.attach(directory))

        yield make


def there(streams: Streams) -> list[str]:
    return sorted(session['conversation_id'] for session in streams.list())


def finished(streams: Streams, *conv_ids: str) -> None:
    """Make streams that are finished, in this order."""
    producers = [streams.create(conv_id) for conv_id in sorted(conv_ids)]
    for producer in sorted(producers, key=lambda p: conv_ids.index(p.conv_id)):
        producer.write(b'data: x\n\n')
        producer.finish()


def test_a_finished_stream_goes_when_its_time_has_passed(attach: Attach) -> None:
    streams = attach(ttl_s=0.3, gc_interval_s=0.05)
    live = streams.create('live')
    live.write(b'data: x\n\n')
    finished(streams, 'done')
    consumer = streams.open('done')
    assert wait_until(lambda: there(streams) == ['live'])
    assert 0.3 <= time.time() - consumer.completed_at < 5
    with pytest.raises(StreamNotFound):
        streams.open('done')
    # Who has it open still reads it; its follower comes to its end.
    assert consumer.evicted
    assert consumer.read() == b'data: x\n\n'
    assert list(consumer.follow()) == [b'data: x\n\n']
    assert live.write(b'data: y\n\n')
    live.finish()


@pytest.mark.parametrize('end', ['finish', 'cancel', 'abort'])
def test_time_counts_from_the_end_however_it_came(attach: Attach, end: str) -> None:
    streams = attach(ttl_s=0.1, gc_interval_s=0.05)
    producer = streams.create('c')
    # Older than the TTL when it ends.
    assert not wait_until(lambda: there(streams) == [], 0.4)
    consumer = streams.open('c')
    if end == 'abort':
        producer.abort('why')
    else:
        getattr(producer, end)()
    assert wait_until(lambda: there(streams) == [])
    assert consumer.finished


def test_a_stream_that_is_not_old_enough_stays(attach: Attach) -> None:
    streams = attach(ttl_s=3600, gc_interval_s=0.05)
    finished(streams, 'done')
    assert not wait_until(lambda: there(streams) == [], 0.3)


def test_the_oldest_finished_makes_room(attach: Attach) -> None:
    streams = attach(max_sessions=4)
    # In this order: not that of their creation.
    finished(streams, 'b', 'a', 'c')
    live = streams.create('live')
    for new, left in (
        ('d', ['a', 'c', 'd', 'live']),
        ('e', ['c', 'd', 'e', 'live']),
        ('f', ['d', 'e', 'f', 'live']),
    ):
        streams.create(new).finish()
        assert there(streams) == left
    assert live.write(b'x')
    assert streams.status()['sessions'] == 4


def test_without_a_finished_stream_there_is_no_room_and_it_says_so(
    attach: Attach, directory: Path
) -> None:
    streams = attach(max_sessions=2)
    producers = [streams.create(conv_id) for conv_id in ('a', 'b')]
    with pytest.raises(NoRoom, match='2 sessions are in use') as refused:
        streams.create('c')
    assert refused.value.retry_after > 0
    assert len(list((directory / 'sessions').iterdir())) == 2
    assert all(producer.write(b'x') for producer in producers)
    producers[1].abort('why')
    streams.create('c')
    assert there(streams) == ['a', 'c']


def test_a_stream_s_successor_needs_no_room(attach: Attach) -> None:
    streams = attach(max_sessions=1)
    first = streams.create('a')
    second = streams.create('a')
    assert not first.write(b'x')
    assert second.write(b'x')
    assert there(streams) == ['a']


def test_memory_is_a_limit_too(attach: Attach, directory: Path) -> None:
    # Each takes a header and its first extent.
    streams = attach(capacity=1 << 20, max_memory=3 * (4096 + 16384))
    finished(streams, 'a', 'b')
    live = [streams.create('c')]
    live.append(streams.create('d'))
    assert there(streams) == ['b', 'c', 'd']
    live.append(streams.create('e'))
    assert there(streams) == ['c', 'd', 'e']
    with pytest.raises(NoRoom, match='bytes are in use'):
        streams.create('f')
    assert streams.status()['memory'] <= streams.status()['max_memory']


def test_a_stream_that_takes_too_much_ends_and_the_limit_holds(
    attach: Attach, directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # However busy the machine is: while nobody answers, there is no limit.
    monkeypatch.setattr(RoomShare, 'ANSWER_S', 60.0)
    limit = 1 << 20
    streams = attach(capacity=4 << 20, max_memory=limit)
    small, greedy = streams.create('small'), streams.create('greedy')
    # Once it has ended it may go for what is live.
    reader = streams.open('greedy')
    chunk = b'data: ' + b'x' * 994
    written = 0
    while greedy.write(chunk):
        written += len(chunk)
        assert written < limit + MAX_EXTENT
    assert greedy.state is State.ABORTED
    assert b'"error"' in reader.read(written)
    assert small.write(b'data: y\n\n')
    # An extent that is being taken while the room is measured is in the next figure.
    assert held(directory) <= limit + MAX_EXTENT


def test_what_new_streams_hold_is_not_given_to_others_as_well(
    attach: Attach, directory: Path
) -> None:
    limit = 1 << 20
    streams = attach(capacity=4 << 20, max_memory=limit)
    table = WorkerTable.attach(directory / 'workers')
    for number in range(1, 11):
        streams.create(f'c{number}').finish()
        assert table.room <= limit - number * (4096 + 16384)


def test_an_evicted_stream_is_gone_and_stops_its_producer(attach: Attach) -> None:
    streams = attach()
    producer = streams.create('c')
    producer.write(b'data: x\n\n')
    consumer = streams.open('c')
    assert not streams.evict('c', generation='0' * 16)
    assert streams.evict('c', generation=producer.generation)
    assert not streams.evict('c')
    assert there(streams) == []
    with pytest.raises(StreamNotFound):
        streams.open('c')
    assert not producer.write(b'data: y\n\n')
    assert consumer.state is State.CANCELLED
    assert b''.join(consumer.follow()) == b'data: x\n\n'


def test_a_cancel_of_another_generation_or_of_nothing_does_nothing(
    attach: Attach,
) -> None:
    streams = attach()
    producer = streams.create('c')
    assert not streams.cancel('c', generation='0' * 16)
    assert not streams.cancel('d')
    assert not streams.cancel('c', owner=bytes(31) + b'1')
    assert producer.write(b'x')
    assert streams.cancel('c', generation=producer.generation)
    assert streams.cancel('c'), 'twice is as good as once'
    assert not producer.write(b'x')
    assert streams.cancel('c'), 'it is still there'
    assert streams.open('c').read() == b'x'


def test_each_owner_has_names_of_its_own(attach: Attach) -> None:
    streams = attach()
    ours, theirs = b'a' * 32, b'b' * 32
    for owner in (ours, theirs):
        with streams.create('c', owner=owner) as producer:
            producer.write(owner)
    assert streams.open('c', owner=ours).read() == ours
    assert streams.open('c', owner=theirs).read() == theirs
    with pytest.raises(StreamNotFound):
        streams.open('c')
    assert streams.lookup(['c']) == []
    assert len(streams.lookup(['c'], owner=ours)) == 1
    assert streams.evict('c', owner=ours)
    assert streams.open('c', owner=theirs).read() == theirs


def test_a_look_up_finds_by_what_comes_before_the_colons(attach: Attach) -> None:
    streams = attach()
    for conv_id in ('a::m1', 'a::m2', 'a', 'ab', 'b::m::x'):
        streams.create(conv_id).finish()

    def found(*conv_ids: str) -> list[str]:
        return [s['conversation_id'] for s in streams.lookup(list(conv_ids))]

    assert sorted(found('a')) == ['a', 'a::m1', 'a::m2']
    assert found('a::m1') == ['a::m1']
    assert found('b', 'b::m', 'b::m::x') == ['b::m::x']
    assert found('ab', 'nothing', 'a::m2') == ['ab', 'a::m2']
    assert found('a::') == []
    assert found() == []
    streams.evict('a::m1')
    assert sorted(found('a')) == ['a', 'a::m2']


def test_a_look_up_tells_all_there_is_to_tell(attach: Attach) -> None:
    streams = attach(capacity=4096)
    producer = streams.create('c')
    before = int(time.time())
    producer.write(b'x' * 5000)
    (live,) = streams.lookup(['c'])
    producer.finish()
    (done,) = streams.lookup(['c'])
    assert before - 2 <= live.pop('started_at') == done.pop('started_at')
    assert live.pop('completed_at') == 0
    assert before <= done.pop('completed_at') <= before + 10
    same = {
        'conversation_id': 'c',
        'total_bytes': 5000,
        'dropped_prefix': 904,
        'generation': producer.generation,
    }
    assert live == same | {'is_done': False, 'state': 'live'}
    assert done == same | {'is_done': True, 'state': 'complete'}
