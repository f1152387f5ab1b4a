"""A stream as an async iterator: what it holds, and for how long."""

from __future__ import annotations

import asyncio
import weakref
from types import SimpleNamespace
from typing import Any

import pytest

from shmstream import Streams
from shmstream.asgi.iterated import IteratedBody
from shmstream.asgi.other_servers import ResponseCut
from shmstream.asgi.stalled import Reader, Readers, transport_of
from shmstream.consumer import Consumer
from shmstream.serving.reply import Ended, Live
from tests.api.following import on_loop


class Noted(Readers):
    """Notes the responses that it watches."""

    def __init__(self) -> None:
        super().__init__(60.0)
        self.entered: list[Reader] = []

    def enter(self, send: Any) -> Reader:
        self.entered.append(super().enter(send))
        return self.entered[-1]


async def to_the_end(iterated: IteratedBody) -> None:
    async for _ in iterated:
        await asyncio.sleep(0)


def live(consumer: Consumer) -> Live:
    return Live(consumer, 0, lambda: False)


def test_a_response_under_way_knows_its_stream_until_it_is_closed(
    streams: Streams,
) -> None:
    readers = Noted()
    producer = streams.create('a')
    producer.write(b'1')
    consumer = streams.open('a')

    async def work() -> None:
        body = IteratedBody(live(consumer), consumer, None, readers, watched=False)
        assert await anext(body) == b'1'
        (reader,) = readers.entered
        assert reader.source is consumer
        assert producer.followers == 1
        await body.close()
        await body.close()
        assert reader.source is None
        assert not len(readers)

    on_loop(work)
    assert producer.followers == 0
    producer.finish()


def test_what_has_been_read_before_the_reply_comes_first(streams: Streams) -> None:
    with streams.create('a') as producer:
        producer.write(b'12')
        consumer = streams.open('a')
        body = Live(consumer, 1, lambda: False, b'1')

        async def work() -> list[bytes]:
            iterated = IteratedBody(body, consumer, None, Noted(), watched=False)
            parts = [await anext(iterated), await anext(iterated)]
            await iterated.close()
            return parts

        assert on_loop(work) == [b'1', b'2']


def test_a_response_that_is_never_begun_holds_nothing(streams: Streams) -> None:
    readers = Noted()
    with streams.create('a') as producer:
        consumer = streams.open('a')

        async def work() -> None:
            await IteratedBody(live(consumer), consumer, None, readers).close()

        on_loop(work)
        assert producer.followers == 0
    assert not readers.entered


def test_a_worker_that_leaves_cuts_what_has_ended(streams: Streams) -> None:
    with streams.create('a', capacity=1 << 20) as producer:
        producer.write(bytes(200_000))
    consumer = streams.open('a')
    body = Ended(consumer, 0, consumer.views(0), lambda: True)

    async def work() -> bytes:
        iterated = IteratedBody(body, consumer, None, Noted(), watched=False)
        first = await anext(iterated)
        with pytest.raises(asyncio.CancelledError):
            await anext(iterated)
        await iterated.close()
        return first

    assert len(on_loop(work)) == 65536


def test_a_wrapped_receive_has_the_response_cut_by_an_error(streams: Streams) -> None:
    """A middleware would take a cancellation for the clean end of the response."""
    producer = streams.create('a', content_type='text/plain')
    producer.write(b'half')
    producer.abort('it broke')
    consumer = streams.open('a')

    async def receive() -> Any:
        await asyncio.Event().wait()

    async def work() -> None:
        iterated = IteratedBody(live(consumer), consumer, receive, Noted())
        assert await anext(iterated) == b'half'
        with pytest.raises(ResponseCut):
            await anext(iterated)
        await iterated.close()

    on_loop(work)


@pytest.mark.parametrize('begun', [True, False])
def test_a_closed_response_does_not_hold_the_stream(
    streams: Streams, begun: bool
) -> None:
    """A server's objects for a request, and this one with them, may live long."""
    with streams.create('a', capacity=1 << 20) as producer:
        producer.write(bytes(200_000))

    async def work() -> None:
        consumer = streams.open('a')
        views = consumer.views(0)
        mapped = weakref.ref(views[0])
        body = Ended(consumer, 0, views, lambda: False)
        iterated = IteratedBody(body, consumer, None, Noted(), watched=False)
        del body, views
        if begun:
            await anext(iterated)
        await iterated.close()
        # An async generator that is dropped is closed by the event loop.
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert mapped() is None

    on_loop(work)


@pytest.mark.parametrize('ended', [True, False])
def test_a_receive_that_fails_cuts_the_response(streams: Streams, ended: bool) -> None:
    """The client has not left, and would take a clean end for that of the stream."""
    producer = streams.create('a', capacity=1 << 20)
    producer.write(bytes(200_000))
    if ended:
        producer.finish()
    consumer = streams.open('a')

    async def work() -> None:
        failing = asyncio.Event()

        async def receive() -> Any:
            await failing.wait()
            raise OSError('the middleware is broken')

        body: Live | Ended = live(consumer)
        if ended:
            body = Ended(consumer, 0, consumer.views(0), lambda: False)
        iterated = IteratedBody(body, consumer, receive, Noted())
        assert await anext(iterated)
        failing.set()
        with pytest.raises(ResponseCut):
            await to_the_end(iterated)
        await iterated.close()

    on_loop(work)
    producer.finish()


def test_the_transport_is_found_behind_gunicorns_receive() -> None:
    """So the kernel finds a client that has vanished, as for other responses."""

    class Receiver:
        def __init__(self, transport: Any) -> None:
            self.protocol = SimpleNamespace(transport=transport)

        async def receive(self) -> None: ...

    transport = SimpleNamespace(get_write_buffer_size=lambda: 0)
    assert transport_of(Receiver(transport).receive) == (transport, True)
    assert transport_of(Receiver(None).receive) == (None, False)
