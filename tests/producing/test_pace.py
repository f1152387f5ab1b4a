"""The source waits for the response that began it, and for nobody else."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Iterator

import pytest

from shmstream import OffsetLost, Producer, Streams
from shmstream.producing.pace import Pace
from tests.api.following import on_loop
from tests.support.leaks import wait_until

EVENT = b'data: %s\n\n' % (b'x' * 992)
EVENTS = 400
"""Six rings of 64 KiB."""


async def fast() -> AsyncIterator[bytes]:
    for _ in range(EVENTS):
        yield EVENT


def fast_in_a_thread(_: object) -> Iterator[bytes]:
    for _ in range(EVENTS):
        yield EVENT


@pytest.mark.parametrize('source', [fast, lambda: fast_in_a_thread])
def test_a_slow_response_gets_everything(
    streams: Streams, conv_id: str, source: Callable[[], object]
) -> None:
    async def work() -> int:
        started = await streams.start(conv_id, source(), capacity=65536)  # type: ignore[arg-type]
        size = 0
        async for chunk in started.follow():
            size += len(chunk)
            # Slower than the source by far.
            await asyncio.sleep(0.001)
        return size

    assert on_loop(work) == EVENTS * len(EVENT)


@pytest.mark.parametrize('kept', [True, False])
def test_without_a_response_nobody_is_waited_for(
    streams: Streams, conv_id: str, kept: bool
) -> None:
    """Whether or not the application keeps what ``start`` has returned."""
    started = streams.start_in_thread(conv_id, fast_in_a_thread, capacity=65536)
    other = started.consumer.follow()
    consumer, keep = started.consumer, [started] if kept else []
    del started
    assert wait_until(lambda: consumer.finished)
    assert len(keep) == kept
    with pytest.raises(OffsetLost):
        next(other)


@pytest.mark.parametrize('end', ['close', 'drop'])
def test_a_response_that_has_gone_is_not_waited_for(
    streams: Streams, conv_id: str, end: str
) -> None:
    go = threading.Event()

    def source(_: object) -> Iterator[bytes]:
        assert go.wait(20)
        yield from fast_in_a_thread(_)

    started = streams.start_in_thread(conv_id, source, capacity=65536)
    follower = started.follow()
    if end == 'close':
        follower.close()
    else:
        del follower
    go.set()
    assert started.join(20)
    assert started.consumer.total_bytes == EVENTS * len(EVENT)


def test_a_stop_ends_the_wait(streams: Streams, conv_id: str) -> None:
    started = streams.start_in_thread(conv_id, fast_in_a_thread, capacity=65536)
    follower = started.follow()
    next(follower)
    assert streams.stop(conv_id)
    assert started.join(20)
    follower.close()


def test_patience_has_an_end(streams: Streams, conv_id: str) -> None:
    with streams.create(conv_id, capacity=65536) as producer:
        pace = Pace(patience_s=0.1)
        follower = streams.open(conv_id).follow()
        pace.reads(follower)
        fill(producer)
        pace.wait_for_room(producer, 65536)
        fill(producer)
        # It has been given up: this does not wait.
        pace.wait_for_room(producer, 65536)
        with pytest.raises(OffsetLost):
            next(follower)


def fill(producer: Producer) -> None:
    for _ in range(65):
        assert producer.write(EVENT)
