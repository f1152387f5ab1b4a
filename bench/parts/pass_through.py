"""The least that our proxy could be: Falcon and aiohttp, without a ring."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import falcon
import falcon.asgi

UPSTREAM = 'BENCH_UPSTREAM'
"""The environment variable with the base URL of the upstream."""


class Relay:
    """Passes a POST on to the upstream, and its answer back as it comes."""

    def __init__(self) -> None:
        self._base = os.environ[UPSTREAM]
        self._session: aiohttp.ClientSession | None = None

    async def process_startup(self, _scope: Any, _event: Any) -> None:
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0),
            timeout=aiohttp.ClientTimeout(total=None, sock_read=60),
            auto_decompress=False,
        )

    async def process_shutdown(self, _scope: Any, _event: Any) -> None:
        assert self._session is not None
        await self._session.close()

    async def __call__(
        self, req: falcon.asgi.Request, resp: falcon.asgi.Response | None, **_: Any
    ) -> None:
        assert self._session is not None
        assert resp is not None
        answer = await self._session.post(
            self._base + req.path, data=await req.stream.read()
        )
        resp.content_type = answer.content_type
        resp.stream = self._chunks(answer)

    @staticmethod
    async def _chunks(answer: aiohttp.ClientResponse) -> AsyncIterator[bytes]:
        async with answer:
            while chunk := await answer.content.readany():
                yield chunk


def create_app() -> falcon.asgi.App[falcon.asgi.Request, falcon.asgi.Response]:
    """Return the application."""
    relay = Relay()
    app = falcon.asgi.App(middleware=[relay])
    app.add_sink(relay, '/')
    return app
