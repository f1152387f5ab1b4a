"""What a producer's own process can do for the readers beside it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from shmstream import Streams
from tests.api.delivering import Sink, begun
from tests.api.following import on_loop


def test_a_consumer_of_a_producer_is_of_its_very_stream(
    streams: Streams, conv_id: str
) -> None:
    with streams.create(conv_id) as older, streams.create(conv_id) as newer:
        older_seen, newer_seen = map(streams.consumer_of, (older, newer))
        assert older_seen.generation == older.generation
        assert newer_seen.generation == newer.generation
        assert older_seen.evicted
        assert streams.open(conv_id).generation == newer.generation


def test_the_capacity_is_that_of_the_ring(streams: Streams, conv_id: str) -> None:
    with streams.create(conv_id, capacity=1 << 20) as producer:
        assert producer.capacity == 1 << 20


def test_a_reader_turn_delivers_before_the_ring_drops_the_bytes(
    streams: Streams, conv_id: str
) -> None:
    """Four rings are written, with few turns of the loop, faster than a hub ticks."""
    part = bytes(range(256)) * 64

    async def work() -> None:
        with streams.create(conv_id, capacity=65536) as producer:
            follower = streams.consumer_of(producer).follow()
            sink = Sink()
            task = await begun(follower, sink)
            turn: Callable[[], None] = await streams.reader_turn()
            for _ in range(16):
                producer.write(part)
                turn()
                await asyncio.sleep(0)
                await asyncio.sleep(0)
            assert bytes(sink.got) == part * 16
            producer.finish()
            await task

    on_loop(work)
