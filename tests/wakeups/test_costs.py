"""What appends and deliveries cost, counted and not timed.

The bounds are some half above what was counted when they were written: a wake-up or an
allocation more for each append, a system call more for each delivery or some more for
each wake-up break them; a slow machine does not.
"""

from __future__ import annotations

import functools
import socket
import sys
import time
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from shmstream import Producer, Streams
from shmstream.wakeups.ring_others import Bells
from tests.support.child import Child
from tests.support.service import Service
from tests.support.traced import SystemCalls
from tests.wakeups.cost_actors import LAST, follow_to_the_end

EVENT = b'data: '.ljust(198, b'x') + b'\n\n'
CAPACITY = 65536

ASLEEP_S = 0.03
"""After so long without bytes a follower sleeps: some ticks of a millisecond."""


@pytest.fixture
def full(streams: Streams) -> Iterator[Producer]:
    """A producer whose ring is full, so that nothing has to be reserved any more."""
    with streams.create('full') as producer:
        for _ in range(2 * CAPACITY // len(EVENT)):
            producer.write(EVENT)
        yield producer


# -- appends -------------------------------------------------------------------------


def test_appends_leave_no_memory_behind(full: Producer) -> None:
    before = sys.getallocatedblocks()
    for _ in range(20_000):
        full.write(EVENT)
    # The doorbell's thread may have some of its own just now.
    assert sys.getallocatedblocks() - before < 100


def _peak_of(operation: Callable[[], object]) -> int:
    """Bytes that the operation holds at one moment, but for what was there before."""
    operation()
    tracemalloc.start()
    try:
        operation()
        tracemalloc.reset_peak()
        before = tracemalloc.get_traced_memory()[0]
        operation()
        return tracemalloc.get_traced_memory()[1] - before
    finally:
        tracemalloc.stop()


def test_an_append_never_copies_more_than_its_chunk(full: Producer) -> None:
    def write_all_around() -> None:
        for _ in range(CAPACITY // len(EVENT) + 1):
            full.write(EVENT)

    # The place words are 512 bytes.
    assert _peak_of(write_all_around) < 2048 + len(EVENT)


def test_a_read_copies_what_it_returns_once(streams: Streams, full: Producer) -> None:
    consumer = streams.open('full')
    size = CAPACITY // 2
    # One that goes over the ring's end, and one that does not.
    for offset in (consumer.dropped_prefix, consumer.dropped_prefix + 200):
        peak = _peak_of(functools.partial(consumer.read, offset, size))
        assert peak < size + 2048


def test_a_burst_posts_the_semaphore_once_for_each_time_its_reader_slept(
    directory: Path, streams: Streams, monkeypatch: pytest.MonkeyPatch
) -> None:
    posts = []
    inner = Bells.ring

    def ring(self: Bells, slot: int, nap: int) -> None:
        posts.append(slot)
        inner(self, slot, nap)

    with (
        streams.create('c', capacity=4 << 20) as producer,
        Child(follow_to_the_end, directory) as child,
    ):
        assert child.hear() == 'following'
        time.sleep(ASLEEP_S)
        monkeypatch.setattr(Bells, 'ring', ring)
        began = time.monotonic()
        for _ in range(1000):
            producer.write(EVENT)
        took_ms = (time.monotonic() - began) * 1000
        monkeypatch.undo()
        producer.finish()
        assert child.hear() == 1000 * len(EVENT)
    # A reader that has been rung looks every millisecond, and sleeps again only when
    # it has found nothing some times: if we were not let run for as long.
    assert 1 <= len(posts) <= 2 + took_ms / 2


# -- deliveries ----------------------------------------------------------------------


class Readers:
    """Clients that follow one stream and read all that comes."""

    def __init__(self, port: int, path: str, count: int) -> None:
        address = ('127.0.0.1', port)
        self._sockets = [socket.create_connection(address) for _ in range(count)]
        for peer in self._sockets:
            peer.settimeout(20)
            peer.sendall(f'GET {path} HTTP/1.1\r\nHost: t\r\n\r\n'.encode())

    def read_to(self, mark: bytes) -> None:
        """Read until each has got these bytes."""
        for peer in self._sockets:
            tail = b''
            while mark not in tail:
                data = peer.recv(65536)
                assert data, 'the stream ended'
                tail = tail[-len(mark) :] + data

    def close(self) -> None:
        for peer in self._sockets:
            peer.close()


@contextmanager
def _following(service: Service, count: int) -> Iterator[tuple[Producer, Readers]]:
    """Clients that have the first event, and the producer, in this process."""
    with (
        Streams.attach(service.directory) as streams,
        streams.create('c') as producer,
    ):
        producer.write(b'data: first\n\n')
        readers = Readers(service.port, '/v1/stream/c', count)
        try:
            readers.read_to(b'data: first\n\n')
            yield producer, readers
        finally:
            readers.close()


def _calls_per_event(
    service: Service, folder: Path, readers: int, events: int
) -> dict[str, float]:
    """System calls of the worker for each event, all of its readers being asleep."""
    (worker,) = service.worker_pids()
    with (
        _following(service, readers) as (producer, clients),
        SystemCalls(worker, folder) as system_calls,
    ):
        for _ in range(events):
            time.sleep(ASLEEP_S)
            producer.write(EVENT)
        producer.write(LAST)
        clients.read_to(LAST)
    calls = {name: count / events for name, count in system_calls.calls.items()}
    print(readers, 'readers:', calls)
    return calls


def test_a_delivery_to_one_of_many_readers_is_one_system_call(
    serve: Callable[..., Service], tmp_path: Path
) -> None:
    calls = _calls_per_event(serve(workers=1), tmp_path, readers=50, events=40)
    assert sum(calls.values()) / 50 < 1.8


def test_waking_up_for_a_single_reader_is_a_few_system_calls(
    serve: Callable[..., Service], tmp_path: Path
) -> None:
    calls = _calls_per_event(serve(workers=1), tmp_path, readers=1, events=100)
    looks = sum(count for name, count in calls.items() if name.startswith('epoll'))
    # One write wakes the loop, one is the delivery.
    assert sum(calls.values()) - looks < 9
    # Each tick until the worker sleeps again is one.
    assert looks < 14
