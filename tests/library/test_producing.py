"""The writing end, as its docstrings say."""

from __future__ import annotations

import gc
import threading
import time
from collections.abc import Callable
from functools import partial

import pytest

from shmstream import (
    InvalidConversationId,
    LocalError,
    Producer,
    State,
    StreamNotFound,
    Streams,
)
from shmstream.ring.layout import W_CANCELLED
from tests.support.leaks import wait_until
from tests.support.worker import Worker

PROMPT_S = 3.0
"""A fifth of a second is usual; the machine does other things too."""


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
    error = consumer.read(9)
    assert error.startswith(b'data: {"error": {"code": 502')
    assert b'the producer failed: ZeroDivisionError' in error
    assert error.endswith(b'\n\n')


@pytest.mark.parametrize(
    ('written', 'between'),
    [
        (b'', b''),
        (b'data: x\n\n', b''),
        (b'data: x\r\n\r\n', b''),
        (b'data: x\r\r', b''),
        (b'data: x\n', b'\n\n'),
        (b'data: x', b'\n\n'),
        (b'\n', b'\n\n'),
    ],
)
def test_an_error_is_an_event_of_its_own(
    streams: Streams, conv_id: str, written: bytes, between: bytes
) -> None:
    producer = streams.create(conv_id)
    producer.write(written)
    producer.abort('no "luck"')
    found = streams.open(conv_id).read()
    assert found.startswith(written + between + b'data: {"error"')
    assert rb'no \"luck\"' in found


def test_a_producer_that_is_dropped_aborts_its_stream(
    streams: Streams, conv_id: str
) -> None:
    streams.create(conv_id)
    gc.collect()
    consumer = streams.open(conv_id)
    assert wait_until(lambda: consumer.state is State.ABORTED)
    assert b'the producer was dropped' in consumer.read()


def test_closing_aborts_what_is_still_produced(streams: Streams, conv_id: str) -> None:
    with Streams.attach(streams.runtime.directory.path) as other:
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


# -- replacing -------------------------------------------------------------------------


def test_a_new_stream_cancels_and_replaces_the_one_of_its_name(
    streams: Streams, conv_id: str
) -> None:
    """I4, I5: there is one live stream, and nobody sees bytes of the other."""
    first = streams.create(conv_id)
    first.write(b'first')
    old = streams.open(conv_id)
    stopped = threading.Event()
    first.on_cancel(stopped.set)
    second = streams.create(conv_id)
    second.write(b'second')
    assert stopped.wait(PROMPT_S)
    assert not first.write(b'more')
    new = streams.open(conv_id)
    assert (old.evicted, new.evicted) == (True, False)
    assert old.generation == first.generation != second.generation == new.generation
    assert (old.state, new.state) == (State.CANCELLED, State.LIVE)
    assert b''.join(old.follow()) == b'first'
    second.finish()
    assert b''.join(new.follow()) == b'second'
    assert len(streams.lookup([conv_id])) == 1


def test_a_finished_stream_is_replaced_without_a_trace(
    streams: Streams, conv_id: str
) -> None:
    with streams.create(conv_id) as first:
        first.write(b'first')
    old = streams.open(conv_id)
    with streams.create(conv_id):
        pass
    assert streams.open(conv_id).read() == b''
    assert (old.state, old.read()) == (State.COMPLETE, b'first')


# -- the stop hook ---------------------------------------------------------------------


def test_a_stop_hook_is_called_without_a_write_and_once(
    streams: Streams, conv_id: str, hire: Callable[[], Worker]
) -> None:
    producer = streams.create(conv_id)
    calls: list[float] = []
    called = threading.Event()

    def hook() -> None:
        calls.append(time.monotonic())
        called.set()

    producer.on_cancel(hook)
    other = hire()
    asked = time.monotonic()
    assert other.order('control', 'cancel', [conv_id])
    assert called.wait(PROMPT_S)
    assert calls[0] - asked < PROMPT_S
    assert not producer.write(b'x')
    other.order('control', 'cancel', [conv_id])
    other.order('control', 'evict', [conv_id])
    assert not wait_until(lambda: len(calls) > 1, 0.3)


def test_a_hook_of_a_stream_that_is_cancelled_already_is_called_now(
    streams: Streams, conv_id: str
) -> None:
    producer = streams.create(conv_id)
    streams.cancel(conv_id)
    calls: list[int] = []
    producer.on_cancel(lambda: calls.append(threading.get_ident()))
    assert wait_until(lambda: bool(calls))
    producer.finish()


def test_a_hook_is_called_too_when_a_write_notices_first(
    streams: Streams, conv_id: str
) -> None:
    producer = streams.create(conv_id)
    calls: list[int] = []
    producer.on_cancel(lambda: calls.append(1))
    # As the supervisor does it, but without a ring.
    producer.segment.words[W_CANCELLED] = 1
    assert not producer.write(b'x')
    assert calls == [1]


def fail(why: str) -> None:
    raise RuntimeError(why)


def test_hooks_do_not_depend_on_each_other(
    streams: Streams, conv_id: str, caplog: pytest.LogCaptureFixture
) -> None:
    producer = streams.create(conv_id)
    called = [threading.Event(), threading.Event()]
    producer.on_cancel(called[0].set)
    producer.on_cancel(partial(fail, 'on purpose'))
    producer.on_cancel(called[1].set)
    streams.cancel(conv_id)
    assert all(event.wait(PROMPT_S) for event in called)
    assert wait_until(lambda: 'stop hook failed' in caplog.text)
    producer.finish()


def test_no_hook_is_called_for_another_end(streams: Streams, conv_id: str) -> None:
    producer = streams.create(conv_id)
    calls: list[int] = []
    producer.on_cancel(lambda: calls.append(1))
    producer.finish()
    streams.cancel(conv_id)
    assert not wait_until(lambda: bool(calls), 0.3)


def test_a_stream_that_nobody_has_is_not_found(streams: Streams, conv_id: str) -> None:
    with pytest.raises(StreamNotFound):
        streams.open(conv_id)
    assert not streams.cancel(conv_id)
    assert not streams.evict(conv_id)
    assert streams.lookup([conv_id]) == []
