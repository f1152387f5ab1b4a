"""Delivery through a ``send`` that fails, is cancelled, or minds how it is treated."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator

import pytest

from shmstream import Follower, Producer, Streams
from tests.api.delivering import Sink, begun, parked
from tests.api.following import on_loop, until


@pytest.fixture
def producer(streams: Streams, conv_id: str) -> Iterator[Producer]:
    with streams.create(conv_id) as made:
        yield made


@pytest.fixture
def follow(streams: Streams, producer: Producer) -> Callable[[], Follower]:
    """Make one more follower of the test's stream."""
    return streams.open(producer.conv_id).follow


class Waits:
    """A ``send`` that waits for a future of the test's, and notes how that ended."""

    def __init__(self) -> None:
        self.future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.calls = 0
        self.ended: list[str] = []

    async def send(self, data: bytes) -> None:
        """Wait, and let what it is told pass."""
        self.calls += 1
        try:
            await self.future
        except BaseException as ex:
            self.ended.append(type(ex).__name__)
            raise
        self.ended.append('sent')


async def suspended(
    producer: Producer, follower: Follower, waits: Waits
) -> asyncio.Task[None]:
    """Deliver until the hub has begun a send that waits, and its task waits for it."""
    task = asyncio.create_task(follower.deliver(waits.send))
    await parked(follower)
    producer.write(b'x')
    await until(lambda: waits.calls == 1)
    for _ in range(3):
        await asyncio.sleep(0)
    assert not task.done()
    return task


@pytest.mark.parametrize('after_a_wait', [False, True])
def test_what_send_raises_ends_its_delivery_and_no_other(
    producer: Producer, follow: Callable[[], Follower], after_a_wait: bool
) -> None:
    async def work() -> None:
        async def send(data: bytes) -> None:
            if after_a_wait:
                await asyncio.sleep(0)
            raise ConnectionResetError('the client has gone')

        other = Sink()
        first = follow()
        failing = asyncio.create_task(first.deliver(send))
        await parked(first)
        whole = await begun(follow(), other)
        producer.write(b'abc')
        with pytest.raises(ConnectionResetError):
            await failing
        assert producer.followers == 1
        for _ in range(20):
            producer.write(b'def')
            await asyncio.sleep(0.001)
        producer.finish()
        await whole
        assert other.got == b'abc' + b'def' * 20

    on_loop(work)


def test_a_send_that_is_cancelled_at_once_does_not_stop_the_hub(
    producer: Producer, follow: Callable[[], Follower]
) -> None:
    """It waits for something that has been cancelled: no exception like the others."""

    async def work() -> None:
        gone = asyncio.get_running_loop().create_future()
        gone.cancel()

        async def send(data: bytes) -> None:
            await gone

        other, first = Sink(), follow()
        cancelled = asyncio.create_task(first.deliver(send))
        await parked(first)
        whole = await begun(follow(), other)
        problems: list[object] = []
        asyncio.get_running_loop().set_exception_handler(
            lambda loop, context: problems.append(context)
        )
        for number in range(20):
            producer.write(b'abc')
            await until(lambda number=number: len(other.got) > 3 * number)  # type: ignore[misc]
        with pytest.raises(asyncio.CancelledError):
            await cancelled
        assert problems == []
        producer.finish()
        await whole

    on_loop(work)


def test_a_task_that_is_cancelled_at_the_live_edge_lets_go(
    producer: Producer, follow: Callable[[], Follower]
) -> None:
    async def work() -> None:
        sink, follower = Sink(), follow()
        task = await begun(follower, sink)
        watch = follower._watch
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert producer.followers == 0
        assert watch is not None
        assert not watch.takers
        producer.write(b'x')
        await asyncio.sleep(0.005)
        assert sink.sizes == []

    on_loop(work)


def test_a_task_that_is_cancelled_within_a_send_cancels_the_send(
    producer: Producer, follow: Callable[[], Follower]
) -> None:
    async def work() -> None:
        waits = Waits()
        task = await suspended(producer, follow(), waits)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert waits.ended == ['CancelledError']
        assert waits.future.cancelled()
        assert producer.followers == 0

    on_loop(work)


def test_a_task_that_is_cancelled_just_as_a_send_begins_leaves_none_open(
    producer: Producer, follow: Callable[[], Follower]
) -> None:
    """The hub has begun the send, its task has not heard of it, and never will."""

    async def work() -> None:
        waits, follower = Waits(), follow()
        send = waits.send
        task: asyncio.Task[None]

        async def then_cancelled(data: bytes) -> None:
            asyncio.get_running_loop().call_soon(task.cancel)
            await send(data)

        task = asyncio.create_task(follower.deliver(then_cancelled))
        await parked(follower)
        # Before the hub's turn has ended, and with it the task's wait.
        producer.write(b'x')
        with pytest.raises(asyncio.CancelledError) as kept:
            await task
        assert waits.calls == 1
        assert len(waits.ended) == 1
        assert kept.value.__traceback__ is not None
        assert producer.followers == 0

    on_loop(work)


def test_a_send_may_mend_what_it_waits_for(
    producer: Producer, follow: Callable[[], Follower]
) -> None:
    """A failed drain is the send's own business, before it is the task's."""

    async def work() -> None:
        inner = Waits()
        mended: list[bytes] = []

        async def send(data: bytes) -> None:
            if not inner.calls:
                try:
                    await inner.send(data)
                except ConnectionResetError:
                    await asyncio.sleep(0.001)
            mended.append(data)

        follower = follow()
        task = asyncio.create_task(follower.deliver(send))
        await parked(follower)
        producer.write(b'x')
        await until(lambda: inner.calls == 1)
        for _ in range(3):
            await asyncio.sleep(0)
        inner.future.set_exception(ConnectionResetError())
        producer.write(b'y')
        producer.finish()
        await task
        assert b''.join(mended) == b'xy'

    on_loop(work)


def test_a_cancelled_send_may_wait_for_its_clean_up(
    producer: Producer, follow: Callable[[], Follower]
) -> None:
    async def work() -> None:
        inner = Waits()
        cleaned: list[bytes] = []

        async def send(data: bytes) -> None:
            try:
                await inner.send(data)
            finally:
                await asyncio.sleep(0.001)
                await asyncio.sleep(0)
                cleaned.append(data)

        follower = follow()
        task = asyncio.create_task(follower.deliver(send))
        await parked(follower)
        producer.write(b'x')
        await until(lambda: inner.calls == 1)
        for _ in range(3):
            await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert cleaned == [b'x']
        assert producer.followers == 0

    on_loop(work)


def test_what_a_send_waits_for_may_be_over_before_its_task_comes(
    producer: Producer, follow: Callable[[], Follower]
) -> None:
    async def work() -> None:
        waits = Waits()
        future = waits.future
        follower = follow()

        async def send(data: bytes) -> None:
            # In the same turn of the loop: the task is woken after this.
            asyncio.get_running_loop().call_soon(future.set_result, None)
            await waits.send(data)

        task = asyncio.create_task(follower.deliver(send))
        await parked(follower)
        producer.write(b'x')
        await until(lambda: waits.ended == ['sent'])
        producer.finish()
        await task

    on_loop(work)
