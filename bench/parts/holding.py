"""The service with two more routes.

One makes sessions in its worker, as an application of the library would. The responses
of the other wait for ever: a follower in this server costs at least as much as they do.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import falcon
import falcon.asgi

from bench.events import EVENT_BYTES, event
from shmstream import Producer, Streams
from shmstream.http.app import create_app as create_service

PATH = '/bench/hold'
WAIT = '/bench/wait'


class Holder:
    """POST ``?prefix=&first=&count=&bytes=&finish=``: make and fill sessions.

    They are called ``prefix-first`` and so on. The unfinished ones are kept alive.
    """

    def __init__(self, streams: Streams) -> None:
        self._streams = streams
        self._kept: list[Producer] = []

    async def on_post(
        self, req: falcon.asgi.Request, resp: falcon.asgi.Response
    ) -> None:
        first = req.get_param_as_int('first', required=True)
        count = req.get_param_as_int('count', required=True)
        for number in range(first, first + count):
            name = f'{req.get_param("prefix", required=True)}-{number}'
            producer = await asyncio.to_thread(self._streams.create, name)
            # Many small writes, as a model's tokens come, and not one.
            size = req.get_param_as_int('bytes', required=True)
            for at in range(size // EVENT_BYTES):
                producer.write(event(at, number, 0))
            if req.get_param_as_bool('finish'):
                producer.finish()
            else:
                self._kept.append(producer)
        resp.text = 'made'


class Waiter:
    """GET: one event, then nothing more, and no end."""

    async def on_get(self, _: falcon.asgi.Request, resp: falcon.asgi.Response) -> None:
        resp.content_type = 'text/event-stream'
        resp.stream = self._wait()

    @staticmethod
    async def _wait() -> AsyncIterator[bytes]:
        yield event(0, 0, 0)
        await asyncio.get_running_loop().create_future()


def create_app() -> Any:
    """Return the application."""
    app = create_service()
    app.falcon.add_route(PATH, Holder(Streams.attach()))
    app.falcon.add_route(WAIT, Waiter())
    return app
