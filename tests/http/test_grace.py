"""The second that an answer has after it has said that it is over."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from types import SimpleNamespace
from typing import Any

import pytest

from shmstream.http import answer_writer
from shmstream.http.answer_writer import write_answer
from shmstream.producing.pace import Pace
from shmstream.upstream.source import Headers

LINES = 'application/x-ndjson'
OVER = b'{"model":"m","task":1,"done":true}\n'
MORE = b'{"model":"m","task":2,"done":false}\n'


class Slow:
    """A producer whose every write waits, because a reader does not get on."""

    capacity = 65536
    total_bytes = 0
    generation = '0' * 16
    content_type = LINES

    def __init__(self, wait_s: float) -> None:
        self.data = b''
        self.state = 'live'
        self._wait_s = wait_s

    def _speaks(self, number: int) -> None:
        """Nothing to note."""

    async def drain(self) -> None:
        await asyncio.sleep(self._wait_s)

    def write(self, piece: bytes) -> bool:
        self.data += piece
        return True

    def finish(self) -> None:
        self.state = 'complete'


class Said:
    """An answer of these chunks, and then this one again and again.

    If that one is empty, the answer stays open and is silent.
    """

    status = 200
    framed = True

    def __init__(
        self, *chunks: bytes, then: bytes | None = None, content_type: str = LINES
    ) -> None:
        self.headers: Headers = [('content-type', content_type)]
        self._chunks = chunks
        self._then = then

    async def chunks(self) -> AsyncIterator[bytes]:
        for chunk in self._chunks:
            yield chunk
        while self._then is not None:
            await asyncio.sleep(0.01)
            if self._then:
                yield self._then

    def close(self) -> None:
        """Nothing to let go of."""


def written(answer: Said, wait_s: float) -> Slow:
    async def turn() -> Callable[[], None]:
        return lambda: None

    async def run() -> Slow:
        producer: Any = Slow(wait_s)
        streams: Any = SimpleNamespace(reader_turn=turn)
        client = Pace()
        client.left()
        async with asyncio.timeout(20):
            await write_answer(streams, client, producer, answer)
        assert isinstance(producer, Slow)
        return producer

    return asyncio.run(run())


@pytest.fixture(autouse=True)
def _short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(answer_writer, 'AFTER_END_S', 0.1)


@pytest.mark.parametrize('last', [MORE, OVER], ids=['goes on', 'over again'])
def test_waiting_for_readers_takes_nothing_of_the_grace(last: bytes) -> None:
    producer = written(Said(OVER, MORE, last), wait_s=0.3)
    assert producer.data == OVER + MORE + last
    assert producer.state == 'complete'


CHAT = b'data: {"object": "chat.completion.chunk", "choices": []}\n\n'
DONE = b'data: [DONE]\n\n'


@pytest.mark.parametrize('then', [b'', b': ping\n\n'], ids=['silent', 'kept alive'])
def test_an_answer_that_is_over_and_stays_open_is_waited_for_no_longer(
    then: bytes,
) -> None:
    answer = Said(CHAT, DONE, then=then, content_type='text/event-stream')
    producer = written(answer, wait_s=0)
    assert producer.data.replace(b': ping\n\n', b'') == CHAT + DONE
    assert producer.state == 'complete'
