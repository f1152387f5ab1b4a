"""The writing end, as its docstrings say."""

from __future__ import annotations

import gc
import signal
import threading
import time
from collections.abc import Callable

import pytest

from shmstream import (
    InvalidConversationId,
    LocalError,
    Producer,
    State,
    Streams,
)
from tests.support.ends import failure
from tests.support.leaks import wait_until

# -- writing and ending ----------------------------------------------------------------


def test_what_is_written_is_there(streams: Streams, conv_id: str) -> None:
    with streams.create(conv_id) as producer:
        assert producer.write(b'one')
        assert producer.write(b'')
        assert producer.write(b' two')
        assert (producer.total_bytes, producer.state) == (7, State.LIVE)
        assert streams.open(conv_id).read() == b'one two'
    assert producer.state is State.COMPLETE
    assert streams.open(conv_id).state is State.COMPLETE


@pytest.mark.parametrize(
    ('end', 'state'),
    [
        (Producer.finish, State.COMPLETE),
        (Producer.cancel, State.CANCELLED),
        (lambda producer: producer.abort('why'), State.ABORTED),
    ],
    ids=['finish', 'cancel', 'abort'],
)
def test_nothing_is_written_after_the_end_and_the_first_end_counts(
    streams: Streams, conv_id: str, end: Callable[[Producer], None], state: State
) -> None:
    producer = streams.create(conv_id, content_type='text/plain')
    producer.write(b'x')
    end(producer)
    assert not producer.write(b'y')
    assert not producer.write(b'')
    producer.finish()
    producer.cancel()
    producer.abort('again')
    consumer = streams.open(conv_id)
    assert producer.state is consumer.state is state
    assert consumer.read() == b'x'
    assert consumer.finished
    assert 0 <= time.time() - consumer.completed_at < 10


def test_nothing_is_written_after_a_cancel(streams: Streams, conv_id: str) -> None:
    producer = streams.create(conv_id)
    producer.write(b'x')
    assert not producer.is_cancelled
    assert streams.cancel(conv_id)
    assert producer.is_cancelled
    assert not producer.write(b'')
    assert not producer.write(b'y')
    assert producer.state is State.CANCELLED
    assert streams.open(conv_id).read() == b'x'


@pytest.mark.parametrize('end', [Producer.finish, lambda producer: producer.abort('x')])
def test_a_cancelled_stream_ends_as_cancelled_however_its_producer_ends_it(
    streams: Streams, conv_id: str, end: Callable[[Producer], None]
) -> None:
    producer = streams.create(conv_id)
    producer.write(b'x')
    streams.cancel(conv_id)
    end(producer)
    consumer = streams.open(conv_id)
    assert (consumer.state, consumer.read()) == (State.CANCELLED, b'x')


def test_a_chunk_larger_than_the_ring_counts_whole_and_leaves_its_tail(
    streams: Streams, conv_id: str
) -> None:
    producer = streams.create(conv_id, capacity=4096)
    chunk = bytes(range(250)) * 40
    assert producer.write(b'abc')
    assert producer.write(chunk)
    consumer = streams.open(conv_id)
    assert producer.total_bytes == consumer.total_bytes == 10_003
    assert consumer.dropped_prefix == 10_003 - 4096
    assert consumer.read(10_003 - 4096) == chunk[-4096:]
    producer.finish()


@pytest.mark.parametrize('capacity', [4096, 4097, 5001, 65535])
def test_a_ring_may_have_any_size(
    streams: Streams, conv_id: str, capacity: int
) -> None:
    with streams.create(conv_id, capacity=capacity) as producer:
        assert producer.write(b'x' * (capacity + 1))
    consumer = streams.open(conv_id)
    assert consumer.dropped_prefix == 1
    assert consumer.read(1) == b'x' * capacity


# -- blocks ----------------------------------------------------------------------------


def test_an_exception_aborts_the_stream_in_band_and_goes_on(
    streams: Streams, conv_id: str
) -> None:
    def fail() -> None:
        with streams.create(conv_id) as producer:
            producer.write(b'data: x\n\n')
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    consumer = streams.open(conv_id)
    assert consumer.state is State.ABORTED
    assert consumer.read(9) == failure('the producer failed: ZeroDivisionError')


@pytest.mark.parametrize(
    ('written', 'between'),
    [
        (b'', b''),
        (b'data: x\n\n', b''),
        (b'data: x\r\n\r\n', b''),
        (b'data: x\r\r', b''),
        (b'data: x\n', b'\n\n'),
        (b'data: x', b'\n\n'),
        (b'\n', b''),
        (b': ping\n', b''),
    ],
)
def test_an_error_is_an_event_of_its_own(
    streams: Streams, conv_id: str, written: bytes, between: bytes
) -> None:
    producer = streams.create(conv_id)
    producer.write(written)
    producer.abort('no "luck"')
    found = streams.open(conv_id).read()
    assert found == written + between + failure(r'no \"luck\"')


def test_a_producer_that_is_dropped_aborts_its_stream(
    streams: Streams, conv_id: str
) -> None:
    streams.create(conv_id)
    gc.collect()
    consumer = streams.open(conv_id)
    assert wait_until(lambda: consumer.state is State.ABORTED)
    assert b'the producer was dropped' in consumer.read()


def test_closing_aborts_what_is_still_produced(streams: Streams, conv_id: str) -> None:
    with Streams.attach(streams._process.directory.path) as other:
        producer = other.create(conv_id)
        producer.write(b'data: x\n\n')
    assert not producer.write(b'y')
    consumer = streams.open(conv_id)
    assert consumer.state is State.ABORTED
    assert b'the producer is shutting down' in consumer.read()


# -- beginning -------------------------------------------------------------------------


def test_a_pending_stream_begins_once(streams: Streams, conv_id: str) -> None:
    producer = streams.create(conv_id, pending=True)
    consumer = streams.open(conv_id)
    assert (consumer.state, consumer.content_type) == (State.PENDING, '')
    producer.begin('application/x-ndjson')
    assert (consumer.state, consumer.content_type) == (
        State.LIVE,
        'application/x-ndjson',
    )
    with pytest.raises(LocalError, match='stream is live, not pending'):
        producer.begin()
    producer.finish()
    with pytest.raises(LocalError, match='stream is complete, not pending'):
        producer.begin()


def test_a_stream_that_is_over_before_it_began_cannot_begin(
    streams: Streams, conv_id: str
) -> None:
    producer = streams.create(conv_id, pending=True)
    producer.finish()
    with pytest.raises(LocalError):
        producer.begin()


def test_a_stream_says_what_it_is(streams: Streams, conv_id: str) -> None:
    before = time.time()
    producer = streams.create(conv_id, content_type='text/plain')
    consumer = streams.open(conv_id)
    assert producer.conv_id == consumer.conv_id == conv_id
    assert producer.generation == consumer.generation
    assert len(producer.generation) == 16
    assert int(producer.generation, 16) > 0
    assert consumer.content_type == 'text/plain'
    assert before - 1 <= consumer.started_at <= time.time() + 1
    assert consumer.completed_at == 0
    assert not consumer.finished
    assert not consumer.evicted
    producer.finish()


@pytest.mark.parametrize(
    'wrong', ['', 'x' * 513, 'é' * 257, 'a\0b', 'a\nb', 'a\x7fb', 'a\x85b', '\ud800']
)
def test_an_id_that_cannot_be_one_is_refused_everywhere(
    streams: Streams, wrong: str
) -> None:
    for use in (streams.create, streams.open, streams.cancel, streams.evict):
        with pytest.raises(InvalidConversationId):
            use(wrong)


@pytest.mark.parametrize(
    'right', ['x' * 512, 'é' * 256, '../../etc/passwd', 'a/b?c#d', '💬::org/model', ' ']
)
def test_an_id_may_be_anything_else(streams: Streams, right: str) -> None:
    with streams.create(right) as producer:
        producer.write(b'x')
    assert streams.open(right).read() == b'x'
    assert streams.lookup([right])[0]['conversation_id'] == right
    assert streams.evict(right)


def test_a_stream_may_begin_while_another_thread_ends_it(
    streams: Streams, conv_id: str
) -> None:
    """Marks belong to one thread at a time: the second has to wait."""
    producer = streams.create(conv_id, pending=True)
    mark_state = producer._marker.mark_state
    inside = threading.Lock()
    together: list[bool] = []

    def slow_ring_state(state: int) -> None:
        together.append(inside.locked())
        with inside:
            if not ending.ident:
                ending.start()
                ending.join(0.2)
            mark_state(state)

    ending = threading.Thread(target=producer.abort, args=('it broke',))
    setattr(producer._marker, 'mark_state', slow_ring_state)  # noqa: B010
    producer.begin()
    ending.join(10)
    assert not ending.is_alive()
    assert len(together) >= 2
    assert not any(together)
    assert producer.state is State.ABORTED


def test_what_a_signal_handler_raises_goes_up_from_a_write_that_waits(
    streams: Streams, conv_id: str
) -> None:
    producer = streams.create(conv_id)
    held, done = threading.Event(), threading.Event()

    def hold() -> None:
        with producer._lock:
            held.set()
            done.wait(15)

    def leave(_signum: int, _frame: object) -> None:
        raise SystemExit

    thread = threading.Thread(target=hold)
    thread.start()
    held.wait(15)
    before = signal.signal(signal.SIGALRM, leave)
    signal.setitimer(signal.ITIMER_REAL, 0.05)
    try:
        with pytest.raises(SystemExit):
            producer.write(b'x')
    finally:
        signal.signal(signal.SIGALRM, before)
        done.set()
        thread.join()
    # It was not taken, and is not.
    assert producer.write(b'y')
    producer.finish()
    assert streams.open(conv_id).read() == b'y'
