"""Readers on the same event loop have their turns, however fast an answer comes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from itertools import pairwise

import pytest

from shmstream import State, Streams
from shmstream.http.answer_writer import write_answer
from shmstream.producing.pace import Pace

EVENT = b'data: ' + b'x' * 992 + b'\n\n'
EVENTS = 500
MOST = 64 * 1024


class AtOnce:
    """An answer whose chunks have all arrived."""

    status = 200
    headers = [('content-type', 'text/event-stream')]  # noqa: RUF012
    framed = True

    async def chunks(self) -> AsyncIterator[bytes]:
        for _ in range(EVENTS):
            yield EVENT

    def close(self) -> None:
        pass


def test_readers_have_a_turn_after_each_part_of_the_ring(
    streams: Streams, monkeypatch: pytest.MonkeyPatch
) -> None:
    producer = streams.create('c', capacity=4 << 20)
    turns = [0]

    async def reader_turn() -> Callable[[], None]:
        return lambda: turns.append(producer.total_bytes)

    monkeypatch.setattr(streams, 'reader_turn', reader_turn)

    async def write() -> None:
        client = Pace()
        client.left()
        await write_answer(streams, client, producer, AtOnce())

    asyncio.run(write())
    assert producer.state is State.COMPLETE
    turns.append(producer.total_bytes)
    parts = [after - before for before, after in pairwise(turns)]
    assert sum(parts) == EVENTS * len(EVENT)
    assert max(parts) <= MOST


class IdLater(AtOnce):
    """A response whose first event does not tell its id."""

    async def chunks(self) -> AsyncIterator[bytes]:
        yield b'data: {"type":"response.output_text.delta","sequence_number":1}\n\n'
        yield b'data: {"type":"response.completed","response":{"id":"late"}}\n\n'


def test_a_stream_gets_its_alias_whichever_event_tells_it(streams: Streams) -> None:
    with streams.create('c') as producer:
        client = Pace()
        client.left()
        asyncio.run(write_answer(streams, client, producer, IdLater()))
    assert streams.open('c').alias == 'late'
