"""The reading end, in threads and on event loops, as its docstrings say."""

from __future__ import annotations

import asyncio
import gc
import os
import random
import signal
import threading
import time
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from shmstream import (
    Consumer,
    FollowCut,
    Follower,
    LocalError,
    OffsetLost,
    StreamNotFound,
    StreamReplaced,
    Streams,
)
from shmstream.wakeups.hub import Watch
from tests.support.leaks import wait_until
from tests.support.worker import Worker

SOON_S = 3.0

Follow = Callable[[Follower], bytes]


def in_a_thread(follower: Follower) -> bytes:
    return b''.join(follower)


def on_a_loop(follower: Follower) -> bytes:
    async def collect() -> bytes:
        return b''.join([data async for data in follower])

    return asyncio.run(collect())


@pytest.fixture(params=[in_a_thread, on_a_loop])
def follow(request: pytest.FixtureRequest) -> Follow:
    """Iterate to the end, in either way."""
    way: Follow = request.param
    return way


class Aside:
    """Follows in a thread of its own."""

    def __init__(self, follow: Follow, follower: Follower) -> None:
        self.follower = follower
        self.data: bytes | None = None
        self.error: BaseException | None = None
        self._follow = follow
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        try:
            self.data = self._follow(self.follower)
        except Exception as ex:
            self.error = ex

    def result(self) -> bytes:
        """Wait for the end."""
        self._thread.join(20)
        assert not self._thread.is_alive()
        if self.error is not None:
            raise self.error
        assert self.data is not None
        return self.data


def listens(consumer: Consumer, count: int = 1) -> bool:
    """Wait until a stream has this many followers."""
    runtime, segment = consumer._runtime, consumer._segment
    return wait_until(lambda: runtime.listeners(segment) == count)


# -- opening and reading ---------------------------------------------------------------


def test_a_generation_can_be_asked_for(streams: Streams, conv_id: str) -> None:
    first = streams.create(conv_id).generation
    producer = streams.create(conv_id)
    assert streams.open(conv_id, generation=producer.generation).conv_id == conv_id
    with pytest.raises(StreamReplaced) as replaced:
        streams.open(conv_id, generation=first)
    assert replaced.value.generation == producer.generation
    producer.finish()


@pytest.mark.parametrize('offset', [-1, 1 << 63, 1 << 64])
def test_an_offset_that_cannot_be_one_is_refused(
    streams: Streams, conv_id: str, offset: int
) -> None:
    with streams.create(conv_id) as producer:
        consumer = streams.open(conv_id)
        for use in (consumer.read, consumer.follow):
            with pytest.raises(LocalError, match='offset must be'):
                use(offset)
        assert producer.listeners == 0


def test_a_read_returns_what_is_there_now(streams: Streams, conv_id: str) -> None:
    with streams.create(conv_id) as producer:
        consumer = streams.open(conv_id)
        assert consumer.read() == b''
        producer.write(b'abcdef')
        assert consumer.read() == b'abcdef'
        assert consumer.read(2, 3) == b'cde'
        assert consumer.read(6) == consumer.read(7) == b''
        assert consumer.read((1 << 63) - 1) == b''


def test_a_read_of_what_is_lost_says_what_is_left(
    streams: Streams, conv_id: str
) -> None:
    with streams.create(conv_id, capacity=4096) as producer:
        producer.write(b'x' * 5000)
        consumer = streams.open(conv_id)
        with pytest.raises(OffsetLost) as lost:
            consumer.read(903)
        assert (lost.value.offset, lost.value.dropped_prefix) == (903, 904)
        assert lost.value.total_bytes == 5000
        assert len(consumer.read(904)) == 4096


# -- following -------------------------------------------------------------------------


def test_a_follower_gets_the_rest_and_ends_with_the_stream(
    streams: Streams, conv_id: str, follow: Follow
) -> None:
    producer = streams.create(conv_id)
    producer.write(b'abc')
    consumer = streams.open(conv_id)
    sides = [Aside(follow, consumer.follow(offset)) for offset in range(4)]
    assert listens(consumer, 4)
    producer.write(b'def')
    producer.write(b'ghi')
    producer.finish()
    for offset, side in enumerate(sides):
        assert side.result() == b'abcdefghi'[offset:]
        assert side.follower.offset == 9
    assert consumer.follow(9).offset == 9
    assert follow(consumer.follow(9)) == b''
    assert follow(consumer.follow(100)) == b''
    assert listens(consumer, 0)


@pytest.mark.parametrize('end', ['finish', 'cancel', 'abort', 'evict', 'replace'])
def test_every_end_ends_every_follower_soon(
    streams: Streams, conv_id: str, follow: Follow, end: str
) -> None:
    producer = streams.create(conv_id, content_type='text/plain')
    producer.write(b'abc')
    consumer = streams.open(conv_id)
    # The producer must notice by itself.
    producer.on_cancel(producer.finish)
    side = Aside(follow, consumer.follow())
    assert listens(consumer)
    ended = time.monotonic()
    match end:
        case 'finish' | 'cancel':
            getattr(producer, end)()
        case 'abort':
            producer.abort('why')
        case 'evict':
            streams.evict(conv_id)
        case 'replace':
            streams.create(conv_id).finish()
    assert side.result() == b'abc'
    assert time.monotonic() - ended < SOON_S


def test_bytes_that_come_with_the_end_while_it_looks_are_not_lost(
    streams: Streams, conv_id: str, follow: Follow, monkeypatch: pytest.MonkeyPatch
) -> None:
    producer = streams.create(conv_id)
    read = Watch.read
    calls = []

    def read_and_then_all_happens(watch: Watch, offset: int) -> bytes:
        data = read(watch, offset)
        calls.append(offset)
        if len(calls) == 1:
            producer.write(b'last words')
            producer.finish()
        return data

    monkeypatch.setattr(Watch, 'read', read_and_then_all_happens)
    assert follow(streams.open(conv_id).follow()) == b'last words'
    assert calls[0] == 0


def test_a_follower_may_begin_beyond_the_end(
    streams: Streams, conv_id: str, follow: Follow
) -> None:
    producer = streams.create(conv_id)
    producer.write(b'abc')
    consumer = streams.open(conv_id)
    side = Aside(follow, consumer.follow(5))
    assert listens(consumer)
    producer.write(b'd')
    producer.write(b'efgh')
    producer.finish()
    assert side.result() == b'fgh'


def test_what_another_process_writes_is_followed_from_any_offset(
    streams: Streams, conv_id: str, follow: Follow, hire: Callable[[], Worker]
) -> None:
    rng = random.Random(conv_id)
    writer = hire()
    writer.create(conv_id)
    writer.order('write', conv_id, 'x' * 1000)
    consumer = streams.open(conv_id)
    offsets = [0, *(rng.randrange(2000) for _ in range(8))]
    sides = [Aside(follow, consumer.follow(offset)) for offset in offsets]
    whole = 'x' * 1000
    for number in range(300):
        text = chr(97 + number % 26) * rng.randrange(1, 60)
        writer.order('write', conv_id, text)
        whole += text
    writer.order('finish', conv_id)
    assert len(whole) > 2000
    for offset, side in zip(offsets, sides, strict=True):
        assert side.result().decode() == whole[offset:]


def test_a_follower_that_is_overtaken_is_told_and_can_go_on(
    streams: Streams, conv_id: str, follow: Follow
) -> None:
    producer = streams.create(conv_id, capacity=4096)
    producer.write(b'x' * 5000)
    consumer = streams.open(conv_id)
    follower = consumer.follow(10)
    with pytest.raises(OffsetLost) as lost:
        follow(follower)
    assert (lost.value.offset, lost.value.dropped_prefix) == (10, 904)
    assert follower.offset == 10
    assert listens(consumer, 0)
    producer.finish()
    assert len(follow(consumer.follow(lost.value.dropped_prefix))) == 4096


def test_a_follower_is_overtaken_between_two_steps(
    streams: Streams, conv_id: str
) -> None:
    producer = streams.create(conv_id, capacity=4096)
    producer.write(b'abc')
    follower = streams.open(conv_id).follow()
    assert next(follower) == b'abc'
    producer.write(b'y' * 5000)
    with pytest.raises(OffsetLost) as lost:
        next(follower)
    assert (lost.value.offset, lost.value.dropped_prefix) == (3, 907)
    assert next(follower, b'over') == b'over'
    producer.finish()


# -- being let go ----------------------------------------------------------------------


def test_a_follower_is_let_go_when_its_worker_leaves(
    streams: Streams, conv_id: str, follow: Follow
) -> None:
    producer = streams.create(conv_id)
    producer.write(b'abc')
    consumer = streams.open(conv_id)
    leaving = threading.Event()
    side = Aside(follow, consumer.follow(leave=leaving.is_set))
    assert listens(consumer)
    assert wait_until(lambda: side.follower.offset == 3)
    leaving.set()
    # It asks at every wake-up.
    producer.write(b'def')
    with pytest.raises(FollowCut) as cut:
        side.result()
    assert cut.value.offset == side.follower.offset
    assert 3 <= cut.value.offset <= 6
    assert listens(consumer, 0)
    producer.finish()


def test_nobody_waits_for_a_producer_that_does_not_notice_a_cancel(
    streams: Streams, conv_id: str, follow: Follow, hire: Callable[[], Worker]
) -> None:
    silent = hire()
    silent.create(conv_id)
    silent.order('write', conv_id, 'abc')
    consumer = streams.open(conv_id)
    side = Aside(follow, consumer.follow())
    assert listens(consumer)
    os.kill(silent.pid, signal.SIGSTOP)
    try:
        began = time.monotonic()
        streams.cancel(conv_id)
        with pytest.raises(FollowCut, match='its producer is silent') as cut:
            side.result()
        assert 0.5 <= time.monotonic() - began < SOON_S
        assert cut.value.offset == 3
    finally:
        os.kill(silent.pid, signal.SIGCONT)
    assert not silent.order('write', conv_id, 'def')


def test_a_follower_that_never_began_holds_nothing(
    streams: Streams, conv_id: str
) -> None:
    with streams.create(conv_id) as producer:
        consumer = streams.open(conv_id)
        for _ in range(10):
            consumer.follow()
        kept = consumer.follow()
        assert producer.listeners == 0
        kept.close()
        assert list(kept) == []


def test_a_follower_that_is_closed_left_or_dropped_counts_no_more(
    streams: Streams, conv_id: str
) -> None:
    with streams.create(conv_id) as producer:
        producer.write(b'x')
        consumer = streams.open(conv_id)
        closed = consumer.follow()
        assert next(closed) == b'x'
        with consumer.follow() as left:
            assert next(left) == b'x'
            assert producer.listeners == 2
        assert producer.listeners == 1
        closed.close()
        closed.close()
        assert next(closed, b'over') == b'over'
        dropped: Follower | None = consumer.follow()
        assert dropped is not None
        next(dropped)
        assert producer.listeners == 1
        dropped = None
        gc.collect()
        # Garbage is noticed in any thread: another one lets go of it.
        assert wait_until(lambda: producer.listeners == 0)


def test_a_follower_is_iterated_in_one_way(streams: Streams, conv_id: str) -> None:
    async def step(follower: Follower) -> bytes:
        return await anext(follower)

    with streams.create(conv_id) as producer:
        producer.write(b'x')
        consumer = streams.open(conv_id)
        begun = consumer.follow()
        next(begun)
        with pytest.raises(LocalError, match='in a thread'):
            asyncio.run(step(begun))

        async def both(follower: Follower) -> None:
            await anext(follower)
            with pytest.raises(LocalError, match='on an event loop'):
                next(follower)

        asyncio.run(both(consumer.follow()))
        assert producer.listeners == 0


def test_followers_at_one_offset_get_the_same_object(
    streams: Streams, conv_id: str
) -> None:
    with streams.create(conv_id) as producer:
        producer.write(b'x' * 1000)
        consumer, other = streams.open(conv_id), streams.open(conv_id)

        def read() -> tuple[bytes, bytes]:
            with consumer.follow() as one, other.follow() as two:
                return next(one), next(two)

        async def read_on_a_loop() -> tuple[bytes, bytes]:
            async with consumer.follow() as one, other.follow() as two:
                return await anext(one), await anext(two)

        for first, second in (read(), asyncio.run(read_on_a_loop())):
            assert first is second
            assert len(first) == 1000


# -- event loops -----------------------------------------------------------------------


def on_loop(work: Callable[[], Awaitable[Any]]) -> Any:
    async def bounded() -> Any:
        async with asyncio.timeout(20):
            return await work()

    return asyncio.run(bounded())


async def until(condition: Callable[[], bool]) -> None:
    """Let the loop turn until something is so; ``on_loop`` bounds it."""
    turns = asyncio.Event()
    while not condition():
        asyncio.get_running_loop().call_soon(turns.set)
        await turns.wait()
        turns.clear()


def test_a_task_that_is_cancelled_lets_go(streams: Streams, conv_id: str) -> None:
    producer = streams.create(conv_id)
    consumer = streams.open(conv_id)

    async def work() -> None:
        follower = consumer.follow()
        task = asyncio.ensure_future(anext(follower))
        await until(lambda: producer.listeners == 1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert producer.listeners == 0

    on_loop(work)
    producer.finish()


def test_many_followers_on_one_loop_all_get_all(streams: Streams, conv_id: str) -> None:
    producer = streams.create(conv_id)
    consumer = streams.open(conv_id)

    async def follow() -> bytes:
        return b''.join([data async for data in consumer.follow()])

    async def work() -> list[bytes]:
        tasks = [asyncio.create_task(follow()) for _ in range(100)]
        await until(lambda: producer.listeners == 100)
        for number in range(200):
            producer.write(b'%03d,' % number)
            await asyncio.sleep(0)
        producer.finish()
        return await asyncio.gather(*tasks)

    whole = b''.join(b'%03d,' % number for number in range(200))
    assert on_loop(work) == [whole] * 100


def test_loops_and_threads_follow_side_by_side(streams: Streams, conv_id: str) -> None:
    producer = streams.create(conv_id)
    consumer = streams.open(conv_id)
    ways = [in_a_thread, on_a_loop, on_a_loop, in_a_thread]
    sides = [Aside(way, consumer.follow()) for way in ways]
    assert listens(consumer, 4)
    whole = b''
    for number in range(300):
        whole += b'%d\n' % number
        producer.write(b'%d\n' % number)
    producer.finish()
    assert [side.result() for side in sides] == [whole] * 4


def test_waiting_for_the_beginning_ends_with_it(streams: Streams, conv_id: str) -> None:
    producer = streams.create(conv_id, pending=True)
    consumer = streams.open(conv_id)

    async def work() -> None:
        began = time.monotonic()
        assert not await consumer.started(0.1)
        assert time.monotonic() - began >= 0.1
        task = asyncio.create_task(consumer.started(15))
        await asyncio.sleep(0)
        assert not task.done()
        producer.begin()
        assert await task
        assert await consumer.started(0)

    on_loop(work)
    producer.finish()


@pytest.mark.parametrize('op', ['cancel', 'evict'])
def test_waiting_for_a_beginning_that_never_comes_ends_too(
    streams: Streams, conv_id: str, op: str
) -> None:
    producer = streams.create(conv_id, pending=True)
    consumer = streams.open(conv_id)

    async def work() -> None:
        task = asyncio.create_task(consumer.started(15))
        await asyncio.to_thread(getattr(streams, op), conv_id)
        with pytest.raises(StreamNotFound):
            await task

    on_loop(work)
    assert producer.is_cancelled
    producer.finish()
