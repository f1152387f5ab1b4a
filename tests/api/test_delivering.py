"""Delivery on an event loop: exact bytes, whatever ``send`` does."""

from __future__ import annotations

import asyncio
import itertools
import socket
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shmstream import Follower, Producer, Streams
from shmstream.wakeups.hub_on_loop import LoopHub
from shmstream.wakeups.hub_watch import MAX_READ, Taker, Watch
from tests.api.delivering import Sink, begun, parked
from tests.api.following import on_loop, until

_numbers = itertools.count()


@pytest.fixture
def follow(streams: Streams, producer: Producer) -> Callable[[], Follower]:
    """Make one more follower of the test's stream."""
    return streams.open(producer.conv_id).follow


def test_at_the_live_edge_nothing_is_sent_from_a_task(
    producer: Producer, follow: Callable[[], Follower]
) -> None:
    async def work() -> None:
        producer.write(b'before')
        sink = Sink()
        task = await begun(follow(), sink)
        assert (bytes(sink.got), sink.in_tasks) == (b'before', 1)
        for number in range(100):
            before = len(sink.got)
            producer.write(b'%03d,' % number)
            await until(lambda before=before: len(sink.got) > before)  # type: ignore[misc]
        assert sink.in_tasks == 1
        assert sink.sizes == [6] + [4] * 100
        producer.finish()
        await task
        assert sink.got[6:] == b''.join(b'%03d,' % number for number in range(100))
        assert producer.followers == 0

    on_loop(work)


def test_bytes_that_come_just_before_the_hub_is_asked_are_sent(
    producer: Producer,
    follow: Callable[[], Follower],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Its task has found nothing to send, and has not said yet that it wants more."""
    take = LoopHub.take
    late = [b'c', b'b', b'a']

    def write_first(hub: LoopHub, watch: Watch, seen: bytes, taker: Taker) -> bool:
        if late:
            producer.write(late.pop())
        return take(hub, watch, seen, taker)

    monkeypatch.setattr(LoopHub, 'take', write_first)

    async def work() -> None:
        sink = Sink()
        task = asyncio.create_task(follow().deliver(sink.send))
        # Nothing else happens that could help.
        await until(lambda: sink.got == b'abc')
        producer.finish()
        await task

    on_loop(work)


def test_while_a_send_waits_bytes_gather(
    producer: Producer, follow: Callable[[], Follower]
) -> None:
    async def work() -> None:
        sink = Sink()
        task = await begun(follow(), sink)
        for _ in range(3):
            sink.gate.clear()
            producer.write(b'first')
            await until(lambda: sink.busy)
            for _ in range(10):
                producer.write(b'more')
                await asyncio.sleep(0)
            assert sink.busy
            sink.gate.set()
            await until(lambda: not sink.busy and len(sink.got) % 45 == 0)
        producer.finish()
        await task
        assert sink.got == (b'first' + b'more' * 10) * 3
        assert sink.sizes[0] == 5
        # The second of a pair is sent at once, by the task that has waited.
        assert len(sink.sizes) <= 12
        assert sink.in_tasks >= 3

    on_loop(work)


def test_nothing_is_sent_between_a_send_that_waits_and_its_task(
    producer: Producer, follow: Callable[[], Follower]
) -> None:
    """The hub may look twice before the task has its turn."""

    async def work() -> None:
        sink, follower = Sink(), follow()
        task = await begun(follower, sink)
        assert follower._watch is not None
        sink.gate.clear()
        for byte in (b'x', b'y', b'z'):
            producer.write(byte)
            follower._watch.changed()
            assert sink.sizes == [1]
        sink.gate.set()
        producer.finish()
        await task
        assert sink.got == b'xyz'

    on_loop(work)


def test_a_client_that_does_not_read_loses_nothing(
    producer: Producer, follow: Callable[[], Follower]
) -> None:
    """A real transport: ``drain`` waits once its buffer is full, and not before."""
    chunk = bytes(range(256)) * 40
    count = 300

    async def work() -> None:
        here, there = socket.socketpair()
        for end in (here, there):
            end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        _, writer = await asyncio.open_connection(sock=here)
        reader, other = await asyncio.open_connection(sock=there, limit=4096)
        follower = follow()
        waits = 0

        async def send(data: bytes) -> None:
            nonlocal waits
            writer.write(data)
            high = writer.transport.get_write_buffer_limits()[1]
            waits += writer.transport.get_write_buffer_size() > high
            await writer.drain()

        task = asyncio.create_task(follower.deliver(send))
        await parked(follower)
        got = bytearray()
        for number in range(count):
            assert producer.write(chunk)
            if number == count // 2:
                # It has stopped; now and then the client reads a little.
                await until(lambda: waits == 1)
                got += await reader.readexactly(100_000)
            await asyncio.sleep(0)
        producer.finish()
        while len(got) < count * len(chunk):
            got += await reader.read(1 << 16)
        await task
        assert got == chunk * count
        assert waits > 1
        for each in (writer, other):
            each.close()
            await each.wait_closed()

    on_loop(work)


def test_more_than_one_read_is_delivered_with_nothing_to_tell_of_it(
    streams: Streams, producer: Producer
) -> None:
    whole = bytes(range(251)) * 8000
    assert len(whole) > 7 * MAX_READ
    # All of the ring is backed by memory: nothing but head will move.
    before = 5 << 20
    for _ in range(5):
        producer.write(bytes(1 << 20))

    async def work() -> None:
        consumer = streams.open(producer.conv_id)
        sinks = [Sink() for _ in range(3)]
        tasks = [await begun(consumer.follow(before), sink) for sink in sinks]
        producer.write(whole)
        await until(lambda: all(len(sink.got) == len(whole) for sink in sinks))
        for sink in sinks:
            assert sink.got == whole
            assert max(sink.sizes) <= MAX_READ
        producer.write(b'!')
        await until(lambda: all(sink.got.endswith(b'!') for sink in sinks))
        producer.finish()
        await asyncio.gather(*tasks)

    on_loop(work)


steps = st.one_of(
    st.tuples(st.just('write'), st.integers(1, 3000)),
    st.tuples(st.just('turn'), st.integers(1, 3)),
    st.tuples(st.just('sleep'), st.sampled_from([0.0, 0.001, 0.005])),
)


@given(
    script=st.lists(steps, max_size=20),
    suspensions=st.lists(st.sampled_from([0, 0, 0, 1, 2, -1, -2]), max_size=20),
    late=st.booleans(),
)
@settings(deadline=None, print_blob=True, max_examples=150)
def test_any_send_is_given_the_plain_bytes(
    streams: Streams,
    script: list[tuple[str, float]],
    suspensions: list[int],
    late: bool,
) -> None:
    """``suspensions``: how often each send waits, and whether for a timer (< 0)."""
    conv_id = f'any-{next(_numbers)}'
    whole = bytearray()
    got = [bytearray(), bytearray()]

    async def work() -> None:
        with streams.create(conv_id, capacity=1 << 17) as producer:
            consumer = streams.open(conv_id)
            tasks: list[asyncio.Task[None]] = []

            def deliver(into: bytearray) -> None:
                waits = itertools.chain(suspensions, itertools.repeat(0))

                async def send(data: bytes) -> None:
                    begins = len(into)
                    wait = next(waits)
                    for _ in range(abs(wait)):
                        await asyncio.sleep(0 if wait > 0 else 0.001)
                    assert len(into) == begins
                    into.extend(data)

                tasks.append(asyncio.create_task(consumer.follow().deliver(send)))

            deliver(got[0])
            if not late:
                deliver(got[1])
            for what, size in script:
                if what == 'write':
                    chunk = bytes([len(whole) % 251]) * int(size)
                    whole.extend(chunk)
                    assert producer.write(chunk)
                elif what == 'turn':
                    for _ in range(int(size)):
                        await asyncio.sleep(0)
                else:
                    await asyncio.sleep(size)
            if late:
                deliver(got[1])
                await asyncio.sleep(0)
        await asyncio.gather(*tasks)

    on_loop(work)
    assert got == [whole, whole]


def test_a_hub_without_memory_leaves_it_to_the_readers_tasks(
    producer: Producer, follow: Callable[[], Follower]
) -> None:
    """Nothing may be taken for seen that nobody has had: it might be the last."""

    async def work() -> None:
        sink, follower = Sink(), follow()
        task = await begun(follower, sink)
        assert follower._watch is not None
        reader, read = follower._watch.reader, follower._watch.reader.read

        def fail_once(_offset: int, _limit: int) -> bytes:
            setattr(reader, 'read', read)  # noqa: B010
            raise MemoryError

        setattr(reader, 'read', fail_once)  # noqa: B010
        producer.write(b'x')
        await until(lambda: sink.got == b'x')
        assert sink.in_tasks == 1
        producer.finish()
        await task

    on_loop(work)
