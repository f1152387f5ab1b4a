"""One worker with a buffer in its own process, which shares nothing."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import AbstractContextManager

import falcon
import falcon.asgi

from bench.events import Pace, event
from bench.peers.base import GunicornPeer, Session


class Inproc(GunicornPeer):
    """One gunicorn worker; the producer is a task in it."""

    name = 'inproc'
    app = 'bench.peers.inproc:create_app()'
    workers = 1

    def start(self) -> None:
        self.serve()

    def streams(self, prefix: str, count: int) -> AbstractContextManager[Session]:
        path = f'/stream/{prefix}-%s?from=%o'
        return self.written_by('inproc', str(self.port), prefix, count, path, '')


class Buffer:
    """A stream: all its bytes, and a condition on which readers wait for more."""

    def __init__(self) -> None:
        self.data = bytearray()
        self.over = False
        self.changed = asyncio.Condition()

    async def append(self, chunk: bytes) -> None:
        """Add bytes and wake the readers."""
        async with self.changed:
            self.data += chunk
            self.changed.notify_all()

    async def end(self) -> None:
        """No more bytes."""
        async with self.changed:
            self.over = True
            self.changed.notify_all()

    async def follow(self, offset: int) -> AsyncIterator[bytes]:
        """All bytes from ``offset`` on."""
        while True:
            chunk = bytes(self.data[offset:])
            if chunk:
                offset += len(chunk)
                yield chunk
                continue
            if self.over:
                return
            async with self.changed:
                await self.changed.wait_for(
                    lambda: self.over or len(self.data) > offset  # noqa: B023
                )


class StreamResource:
    def __init__(self, buffers: dict[str, Buffer]) -> None:
        self._buffers = buffers

    async def on_get(
        self, req: falcon.asgi.Request, resp: falcon.asgi.Response, name: str
    ) -> None:
        buffer = self._buffers.get(name)
        if buffer is None:
            raise falcon.HTTPNotFound
        resp.content_type = 'text/event-stream'
        resp.stream = buffer.follow(req.get_param_as_int('from') or 0)


class ControlResource:
    """POST /prime, /go, /close: what other peers' writers do from another process."""

    def __init__(self, buffers: dict[str, Buffer]) -> None:
        self._buffers = buffers

    async def on_post(
        self, req: falcon.asgi.Request, resp: falcon.asgi.Response, what: str
    ) -> None:
        prefix = req.get_param('prefix', required=True)
        streams = req.get_param_as_int('streams', required=True)
        names = [f'{prefix}-{i}' for i in range(streams)]
        if what == 'prime':
            for i, name in enumerate(names):
                buffer = self._buffers[name] = Buffer()
                await buffer.append(event(0, i, time.monotonic_ns()))
        elif what == 'go':
            rate = req.get_param_as_float('rate', required=True)
            seconds = req.get_param_as_float('seconds', required=True)
            resp.media = await self._produce(names, rate, seconds)
        else:
            for name in names:
                await self._buffers.pop(name).end()

    async def _produce(
        self, names: list[str], rate: float, seconds: float
    ) -> dict[str, float]:
        buffers = [self._buffers[name] for name in names]
        pace = Pace(len(buffers), rate, seconds)
        while not pace.over:
            for k in pace.due():
                number, stream = divmod(k, len(buffers))
                chunk = event(number + 1, stream, time.monotonic_ns())
                await buffers[stream].append(chunk)
            await asyncio.sleep(pace.sleep_s())
        return pace.summary()


def create_app() -> falcon.asgi.App[falcon.asgi.Request, falcon.asgi.Response]:
    """The application."""
    app = falcon.asgi.App()
    buffers: dict[str, Buffer] = {}
    app.add_route('/stream/{name}', StreamResource(buffers))
    app.add_route('/control/{what}', ControlResource(buffers))
    return app
