"""F51: what is no end is not told as one: cancelled, timed out, interrupted, closed."""

from __future__ import annotations

import asyncio
import copy
import pickle
import random
import signal
import threading
from collections.abc import Callable
from contextlib import suppress
from functools import partial

import pytest

from shmstream import FollowCut, Follower, LocalError, OffsetLost, Producer, Streams
from tests.api.following import Aside, in_a_thread, on_loop, until
from tests.support.leaks import wait_until


@pytest.fixture
def follow(streams: Streams, producer: Producer) -> Callable[[], Follower]:
    """Make one more follower of the test's stream."""
    return streams.open(producer.conv_id).follow


def test_a_step_that_times_out_is_no_end(
    producer: Producer, follow: Callable[[], Follower]
) -> None:
    async def work() -> None:
        async with follow() as follower:
            for text in (b'one', b'two', b'three'):
                for _ in range(2):
                    with pytest.raises(TimeoutError):
                        await asyncio.wait_for(anext(follower), 0.01)
                    # Whoever looks whether anybody listens must not see a gap.
                    assert producer.followers == 1
                producer.write(text)
                assert await asyncio.wait_for(anext(follower), 15) == text
            producer.finish()
            for _ in range(2):
                with pytest.raises(StopAsyncIteration):
                    await asyncio.wait_for(anext(follower), 15)
        with pytest.raises(StopAsyncIteration):
            await anext(follower)

    on_loop(work)
    assert producer.followers == 0


@pytest.mark.parametrize('seed', range(4))
def test_steps_that_are_cancelled_at_any_moment_lose_and_double_nothing(
    producer: Producer, follow: Callable[[], Follower], seed: int
) -> None:
    """Also in the very turn of the loop in which the bytes come."""
    chance = random.Random(seed)
    whole = b''.join(b'%d,' % number for number in range(400))
    cancelled = 0

    async def work() -> bytes:
        nonlocal cancelled
        follower = follow()
        got, written = b'', 0

        async def step() -> bytes:
            if chance.random() < 0.5:
                return await anext(follower)
            # What is given is used up by the await, also if it is cancelled then.
            async with asyncio.timeout(chance.choice([0, 0.0001, 15])):
                return await anext(follower)

        while len(got) < len(whole):
            task = asyncio.ensure_future(step())
            moves = ['write', 'turn', 'turn', 'cancel']
            chance.shuffle(moves)
            for move in moves[: chance.randrange(5)]:
                if move == 'write' and written < len(whole):
                    size = chance.randrange(1, 9)
                    producer.write(whole[written : written + size])
                    written = min(written + size, len(whole))
                elif move == 'turn':
                    await asyncio.sleep(0)
                elif move == 'cancel':
                    task.cancel()
            if got == whole[:written] and written < len(whole):
                producer.write(whole[written : written + 1])
                written += 1
            try:
                got += await task
            except (asyncio.CancelledError, TimeoutError):
                cancelled += 1
            assert follower.offset == len(got)
            assert got == whole[: len(got)]
        producer.finish()
        with pytest.raises(StopAsyncIteration):
            await anext(follower)
        return got

    assert on_loop(work) == whole
    assert cancelled > 10


def test_a_follower_that_timed_out_goes_on_with_its_loop_or_on_another(
    producer: Producer, follow: Callable[[], Follower]
) -> None:
    follower = follow()

    async def time_out() -> None:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(anext(follower), 0.01)

    async def read() -> bytes:
        return await anext(follower)

    asyncio.run(time_out())
    producer.write(b'x')
    assert asyncio.run(read()) == b'x'
    assert wait_until(lambda: producer.followers == 1)
    follower.close()
    assert producer.followers == 0


class Stop(Exception):
    """A signal handler's."""


def test_a_thread_that_is_interrupted_while_it_waits_goes_on(
    producer: Producer, follow: Callable[[], Follower]
) -> None:
    follower = follow()

    def handler(*_: object) -> None:
        raise Stop

    old = signal.signal(signal.SIGUSR2, handler)
    main = threading.get_ident()
    try:
        for number in range(20):
            shot = threading.Event()

            def shoot(shot: threading.Event = shot) -> None:
                wait_until(lambda: bool(follower._watch and follower._watch.waiters))
                shot.set()
                signal.pthread_kill(main, signal.SIGUSR2)

            thread = threading.Thread(target=shoot)
            thread.start()
            with pytest.raises(Stop):
                next(follower)
            thread.join()
            assert shot.is_set()
            assert follower._watch is not None
            # Who is not there any more is not waited for.
            assert not follower._watch.waiters
            assert producer.followers == 1
            producer.write(b'%d' % number)
            assert next(follower) == b'%d' % number
    finally:
        signal.signal(signal.SIGUSR2, old)
    producer.finish()
    assert list(follower) == []


def test_what_is_closed_raises_and_what_has_ended_has_ended(
    producer: Producer, follow: Callable[[], Follower]
) -> None:
    async def step(follower: Follower) -> bytes:
        return await anext(follower)

    producer.write(b'x')
    unused, used = follow(), follow()
    assert next(used) == b'x'
    for follower, offset in ((unused, 0), (used, 1)):
        follower.close()
        for _ in range(2):
            with pytest.raises(LocalError, match=f'closed at offset {offset}'):
                list(follower)
            with pytest.raises(LocalError, match=f'closed at offset {offset}'):
                on_loop(lambda follower=follower: step(follower))  # type: ignore[misc]
            with pytest.raises(LocalError, match='closed'):
                on_loop(lambda follower=follower: follower.deliver(_nowhere))  # type: ignore[misc]
    ended = follow()
    producer.finish()
    with ended:
        assert list(ended) == [b'x']
    ended.close()
    assert list(ended) == []
    on_loop(lambda: ended.deliver(_nowhere))


async def _nowhere(data: bytes) -> None:
    raise AssertionError(data)


def test_what_was_lost_or_cut_is_told_again(streams: Streams, conv_id: str) -> None:
    async def step(follower: Follower) -> bytes:
        return await anext(follower)

    with streams.create(conv_id, capacity=4096) as small:
        small.write(b'abc')
        leaving = threading.Event()
        consumer = streams.open(conv_id)
        lost, cut = consumer.follow(), consumer.follow(leave=leaving.is_set)
        assert next(lost) == next(cut) == b'abc'
        leaving.set()
        small.write(b'y' * 5000)
        for _ in range(3):
            with pytest.raises(OffsetLost) as found:
                next(lost)
            assert (found.value.offset, found.value.dropped_prefix) == (3, 907)
            with pytest.raises(FollowCut) as told:
                next(cut)
            assert told.value.offset == 3
            # Whatever has changed since.
            leaving.clear()
            with pytest.raises(FollowCut):
                on_loop(lambda: step(cut))
            with pytest.raises(FollowCut):
                on_loop(lambda: cut.deliver(_nowhere))
        assert small.followers == 0
    for error in (found.value, told.value):
        for same in (copy.copy(error), pickle.loads(pickle.dumps(error))):
            assert type(same) is type(error)
            assert str(same) == str(error)
            assert same.offset == error.offset


@pytest.mark.parametrize('seed', range(4))
def test_a_delivery_that_is_cancelled_or_fails_goes_on_at_its_offset(
    producer: Producer, follow: Callable[[], Follower], seed: int
) -> None:
    """What ``send`` was given counts, however that ended; nothing is given twice."""
    chance = random.Random(seed)
    whole = b''.join(b'%d,' % number for number in range(300))
    given = bytearray()
    broken = 0

    async def send(data: bytes) -> None:
        given.extend(data)
        if chance.random() < 0.2:
            await asyncio.sleep(0)
        if chance.random() < 0.05:
            raise ConnectionResetError

    def is_done(task: asyncio.Future[None], written: int) -> bool:
        return task.done() or len(given) == written

    async def work() -> None:
        nonlocal broken
        follower, written = follow(), 0
        while written < len(whole):
            task = asyncio.ensure_future(follower.deliver(send))
            for _ in range(chance.randrange(8)):
                if chance.random() < 0.5:
                    await asyncio.sleep(0)
                producer.write(whole[written : written + 3])
                written = min(written + 3, len(whole))
            if chance.random() < 0.5:
                await until(partial(is_done, task, written))
            task.cancel()
            with suppress(asyncio.CancelledError, ConnectionResetError):
                await task
            broken += 1
            assert follower.offset == len(given)
            assert given == whole[: len(given)]
            # Nobody delivers to anybody meanwhile.
            assert producer.followers == 0
        producer.finish()
        while True:
            with suppress(ConnectionResetError):
                await follower.deliver(send)
                break

    on_loop(work)
    assert given == whole
    assert broken > 10


def test_misuse_ends_nothing(
    producer: Producer, follow: Callable[[], Follower]
) -> None:
    follower = follow()
    producer.write(b'x')
    assert next(follower) == b'x'

    async def wrong() -> None:
        with pytest.raises(LocalError, match='in a thread'):
            await anext(follower)

    on_loop(wrong)
    side = Aside(in_a_thread, follower)
    producer.write(b'y')
    producer.finish()
    assert side.result() == b'y'
