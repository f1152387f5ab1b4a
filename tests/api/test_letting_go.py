"""The reading end: followers that end before the stream does, and event loops."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from shmstream import (
    FollowCut,
    Follower,
    LocalError,
    StreamNotFound,
    Streams,
)
from tests.api.following import (
    SOON_S,
    Aside,
    Follow,
    in_a_thread,
    listens,
    on_a_loop,
    on_loop,
    until,
)
from tests.support.frozen import freeze
from tests.support.leaks import wait_until
from tests.support.patience import Stopwatch
from tests.support.stranger import stranger
from tests.support.worker import Worker

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
    freeze(silent.pid)
    try:
        began = time.monotonic()
        with Stopwatch() as watch:
            streams.cancel(conv_id)
            with pytest.raises(FollowCut, match='its producer is silent') as cut:
                side.result()
        assert time.monotonic() - began >= 0.5
        assert watch.seconds < SOON_S
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
        assert producer.followers == 0
        kept.close()
        with pytest.raises(LocalError, match='closed at offset 0'):
            list(kept)


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
            assert producer.followers == 2
        assert producer.followers == 1
        closed.close()
        closed.close()
        with pytest.raises(LocalError, match='closed at offset 1'):
            next(closed)
        dropped: Follower | None = consumer.follow()
        assert dropped is not None
        next(dropped)
        assert producer.followers == 1
        dropped = None
        gc.collect()
        # Garbage is noticed in any thread: another one lets go of it.
        assert wait_until(lambda: producer.followers == 0)


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
        # Misuse has ended neither: one has been dropped since, the other goes on.
        assert wait_until(lambda: producer.followers == 1)
        producer.write(b'y')
        assert next(begun) == b'y'
        begun.close()
        assert producer.followers == 0


def test_followers_at_one_offset_get_the_same_object(
    streams: Streams, conv_id: str
) -> None:
    with streams.create(conv_id) as producer:
        producer.write(b'.')
        consumer, other = streams.open(conv_id), streams.open(conv_id)

        def read() -> Iterator[tuple[bytes, bytes]]:
            offset = producer.total_bytes
            with consumer.follow(offset) as one, other.follow(offset - 1) as two:
                producer.write(b'.')
                assert (len(next(one)), len(next(two))) == (1, 2)
                for _ in range(100):
                    producer.write(b'x' * 1000)
                    yield next(one), next(two)

        async def read_on_a_loop() -> list[tuple[bytes, bytes]]:
            found = []
            offset = producer.total_bytes
            async with consumer.follow(offset) as one, other.follow(offset - 1) as two:
                producer.write(b'.')
                assert (len(await anext(one)), len(await anext(two))) == (1, 2)
                for _ in range(100):
                    producer.write(b'x' * 1000)
                    found.append((await anext(one), await anext(two)))
            return found

        for pairs in (list(read()), asyncio.run(read_on_a_loop())):
            assert all(one == two == b'x' * 1000 for one, two in pairs)
            # Not if the hub looks between the two: what they share may then be old.
            assert sum(one is two for one, two in pairs) > 50


# -- event loops -----------------------------------------------------------------------


def test_a_step_that_is_cancelled_is_no_end(streams: Streams, conv_id: str) -> None:
    producer = streams.create(conv_id)
    consumer = streams.open(conv_id)

    async def work() -> None:
        follower = consumer.follow()
        task = asyncio.ensure_future(anext(follower))
        await until(lambda: producer.followers == 1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        # It listens until it is closed or dropped: others look whether anybody does.
        assert producer.followers == 1
        producer.write(b'x')
        assert await anext(follower) == b'x'
        follower.close()
        assert producer.followers == 0

    on_loop(work)
    producer.finish()


def test_many_followers_on_one_loop_all_get_all(streams: Streams, conv_id: str) -> None:
    producer = streams.create(conv_id)
    consumer = streams.open(conv_id)

    async def follow() -> bytes:
        return b''.join([data async for data in consumer.follow()])

    async def work() -> list[bytes]:
        tasks = [asyncio.create_task(follow()) for _ in range(100)]
        await until(lambda: producer.followers == 100)
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


def test_a_loop_that_ended_with_followers_does_not_keep_the_process_awake(
    streams: Streams, conv_id: str
) -> None:
    """Nobody ticks for its hub any more: others must be rung for again."""
    producer = streams.create(conv_id)
    consumer = streams.open(conv_id)
    process = streams._process
    membership = process.holder.require()
    left: list[Follower] = []

    def nap() -> int:
        table = membership.table
        word: int = table.words[table.nap_at(membership.slot)]
        return word

    async def begin() -> None:
        left.append(consumer.follow())
        task = asyncio.ensure_future(anext(left[0]))
        await until(lambda: producer.followers >= 1)
        producer.write(b'x')
        assert await task == b'x'
        # As if others had written, too. The follower is never closed.
        membership.hubs.board.stay_awake(await process.followers.loop_hub())
        assert nap() == 0

    on_loop(begin)
    assert wait_until(lambda: nap() != 0, 5)
    assert not membership.hubs.loops._hubs
    left[0].close()
    side = Aside(in_a_thread, consumer.follow())
    assert listens(consumer)
    producer.write(b'y')
    producer.finish()
    assert side.result() == b'xy'


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


def test_who_follows_in_a_process_that_leaves_is_let_go(
    streams: Streams, conv_id: str
) -> None:
    """Nobody drives its hubs any more; the stream goes on elsewhere."""
    with streams.create(conv_id) as producer:
        producer.write(b'abc')

        async def follow() -> int:
            with stranger(streams._process.directory.path) as own:
                follower = own.open(conv_id).follow()
                assert await anext(follower) == b'abc'
                waiting = asyncio.ensure_future(anext(follower))
                await until(lambda: bool(follower._watch and follower._watch.waiters))
                await asyncio.to_thread(own.close)
                with pytest.raises(FollowCut):
                    await waiting
            return follower.offset

        assert on_loop(follow) == 3
