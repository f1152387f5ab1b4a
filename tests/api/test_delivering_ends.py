"""How a delivery on an event loop ends."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from shmstream import FollowCut, Follower, OffsetLost, Producer, Streams
from tests.api.delivering import Sink, begun
from tests.api.following import on_loop, until


@pytest.fixture
def follow(streams: Streams, producer: Producer) -> Callable[[], Follower]:
    """Make one more follower of the test's stream."""
    return streams.open(producer.conv_id).follow


@pytest.mark.parametrize('waits', [False, True])
@pytest.mark.parametrize('how', ['finish', 'cancel', 'abort'])
def test_the_end_comes_after_the_last_byte(
    producer: Producer, follow: Callable[[], Follower], how: str, waits: bool
) -> None:
    async def work() -> bytes:
        sink = Sink()
        task = await begun(follow(), sink)
        if waits:
            sink.gate.clear()
        producer.write(b'data: x\n\n')
        if waits:
            await until(lambda: sink.busy)
        if how == 'abort':
            producer.abort('it broke')
        else:
            getattr(producer, how)()
        sink.gate.set()
        await task
        assert producer.followers == 0
        return bytes(sink.got)

    got = on_loop(work)
    assert got.startswith(b'data: x\n\n')
    assert (b'it broke' in got) == (how == 'abort')
    assert len(got) == producer.total_bytes


def test_a_delivery_that_is_overtaken_while_it_waits_skips_nothing(
    streams: Streams, conv_id: str
) -> None:
    producer = streams.create(conv_id)

    async def work() -> None:
        follower, sink = streams.open(conv_id).follow(), Sink()
        task = await begun(follower, sink)
        sink.gate.clear()
        producer.write(b'sent')
        await until(lambda: sink.busy)
        for _ in range(10):
            producer.write(bytes(10_000))
        sink.gate.set()
        with pytest.raises(OffsetLost):
            await task
        assert (bytes(sink.got), follower.offset) == (b'sent', 4)
        assert producer.followers == 0

    on_loop(work)
    producer.finish()


def test_a_delivery_that_is_overtaken_at_the_live_edge_skips_nothing(
    streams: Streams, conv_id: str
) -> None:
    producer = streams.create(conv_id)

    async def work() -> None:
        follower, sink = streams.open(conv_id).follow(), Sink()
        task = await begun(follower, sink)
        # More than the ring, before the hub can look.
        for _ in range(10):
            producer.write(bytes(10_000))
        with pytest.raises(OffsetLost):
            await task
        assert (bytes(sink.got), follower.offset) == (b'', 0)
        assert producer.followers == 0

    on_loop(work)
    producer.finish()


def test_who_leaves_lets_its_deliveries_go(
    streams: Streams, producer: Producer, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def work() -> None:
        told: list[bool] = []
        follower = streams.open(producer.conv_id).follow(leave=lambda: bool(told))
        sink = Sink()
        task = await begun(follower, sink)
        producer.write(b'abc')
        await until(lambda: sink.got == b'abc')
        monkeypatch.setattr(streams._process._chores, '_leaving', lambda: bool(told))
        told.append(True)
        with pytest.raises(FollowCut) as cut:
            await task
        assert cut.value.offset == 3
        assert producer.followers == 0

    on_loop(work)
