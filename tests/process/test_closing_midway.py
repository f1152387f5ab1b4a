"""Closing while something else is under way: nothing outlives it."""

from __future__ import annotations

import contextlib
import functools
import sys
import threading
from collections.abc import Callable
from typing import Any

import pytest

from shmstream import Producer, State, Streams, SupervisorUnavailable
from shmstream.memory.mappings import Mappings
from shmstream.process import membership_holder
from shmstream.process.attachment import Attachment
from shmstream.process.live_producers import LiveProducers
from shmstream.wakeups import doorbell_greenlet
from tests.api.following import Aside, in_a_thread, listens
from tests.support.leaks import wait_until
from tests.support.stranger import stranger


def in_between(
    monkeypatch: pytest.MonkeyPatch,
    where: tuple[type, str],
    act: Callable[[], object],
    before: bool,
) -> None:
    """Have this done, once and by another thread, before or after a method's work."""
    real = getattr(*where)
    left = [act]

    def once() -> None:
        if left and threading.current_thread() is main:
            thread = threading.Thread(target=left.pop())
            thread.start()
            thread.join()

    def method(*arguments: Any) -> Any:
        if before:
            once()
        found = real(*arguments)
        if not before:
            once()
        return found

    main = threading.current_thread()
    monkeypatch.setattr(*where, method)


@pytest.mark.parametrize('before', [True, False])
@pytest.mark.parametrize('pending', [True, False])
@pytest.mark.parametrize(
    'where',
    [
        (Mappings, 'share_locked'),
        (LiveProducers, 'add'),
        (Producer, '_make_lock'),
        (Producer, 'begin'),
    ],
)
def test_a_stream_that_is_made_while_its_streams_close_is_aborted(
    streams: Streams,
    conv_id: str,
    monkeypatch: pytest.MonkeyPatch,
    where: tuple[type, str],
    pending: bool,
    before: bool,
) -> None:
    """Neither is it written on, nor does it write into a descriptor that is closed."""
    other = Streams.attach(streams._process.directory.path)
    other.connect()
    in_between(monkeypatch, where, other.close, before)
    producer: Producer | None = None
    with contextlib.suppress(SupervisorUnavailable):
        producer = other.create(conv_id, pending=pending)
    monkeypatch.undo()
    if producer is not None and where != (Producer, 'begin'):
        # It was whole when it was closed.
        assert producer._ended
        assert producer._file.closed
    other.close()
    if producer is not None:
        assert not producer.write(b'x' * 100_000)
    assert wait_until(lambda: streams.open(conv_id).finished)
    assert streams.open(conv_id).state is State.ABORTED
    assert not streams._process.producers.all()


def doorbells() -> int:
    """How many doorbell threads there are in this process."""
    return [each.name for each in threading.enumerate()].count('shmstream-doorbell')


def test_a_process_that_leaves_while_it_is_greeted_has_left(
    streams: Streams, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = stranger(streams._process.directory.path)
    process = own._process
    closing = threading.Thread(target=process.close)
    at_last = threading.Event()
    close, make_doorbell = process.link.client.close, doorbell_greenlet.make_doorbell

    def close_client() -> None:
        at_last.set()
        close()

    def make(*arguments: Any) -> Any:
        closing.start()
        assert at_last.wait(30)
        return make_doorbell(*arguments)

    before = doorbells()
    monkeypatch.setattr(process.link.client, 'close', close_client)
    monkeypatch.setattr(membership_holder, 'make_doorbell', make)
    with pytest.raises(SupervisorUnavailable, match='left'):
        process.connect()
    closing.join()
    assert process.holder.now is None
    assert doorbells() == before


def test_of_two_that_close_at_once_one_has_the_process_leave(
    streams: Streams,
) -> None:
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        for _ in range(100):
            one = stranger(streams._process.directory.path)
            process = one._process
            two = Streams(functools.partial(Attachment, process))
            two.connect()
            both = threading.Barrier(2)

            def leave(streams: Streams, both: threading.Barrier) -> None:
                both.wait(30)
                streams.close()

            threads = [
                threading.Thread(target=leave, args=(each, both)) for each in (one, two)
            ]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            assert process.closed
            assert process.holder.now is None
    finally:
        sys.setswitchinterval(interval)


def test_who_stays_is_looked_after_by_the_doorbell_alone(
    streams: Streams, conv_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a step says of the next one is for the thread that steps."""
    one = Streams.attach(streams._process.directory.path)
    one.connect()
    hub = streams._process.holder.require().hubs.threads
    look, looked = hub.look, set()
    everybody = threading.Event()

    def noted(*arguments: bool, **named: bool) -> float:
        looked.add(threading.current_thread().name)
        found = look(*arguments, **named)
        if True in (*arguments[1:], named.get('everybody')):
            everybody.set()
        return found

    with streams.create(conv_id) as producer:
        consumer = streams.open(conv_id)
        side = Aside(in_a_thread, consumer.follow())
        assert listens(consumer)
        monkeypatch.setattr(hub, 'look', noted)
        one.close()
        assert everybody.wait(30)
        monkeypatch.undo()
        producer.write(b'x')
    assert side.result() == b'x'
    assert looked == {'shmstream-doorbell'}
