"""Being replaced and cancelled, as a producer sees it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import partial

import pytest

from shmstream import (
    State,
    StreamNotFound,
    Streams,
)
from shmstream.ring.layout import W_CANCELLED
from tests.support.leaks import wait_until
from tests.support.worker import Worker

PROMPT_S = 3.0
"""A fifth of a second is usual; the machine does other things too."""


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
    calls: list[None] = []
    called = threading.Event()

    def hook() -> None:
        calls.append(None)
        called.set()

    producer.on_cancel(hook)
    other = hire()
    assert other.order('control', 'cancel', [conv_id])
    assert wait_until(called.is_set, PROMPT_S)
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
    producer._segment.words[W_CANCELLED] = 1
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
