"""An OpenAI-compatible server, reached over a pool of HTTP connections.

The client is aiohttp. Of the clients that were compared
(``bench/questions/http_clients.py``) and that keep raw headers and stream request
bodies, it costs the least per small streamed chunk.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import aiohttp
from multidict import CIMultiDict
from yarl import URL

from shmstream.settings import Settings
from shmstream.upstream.source import (
    Answer,
    Headers,
    UpstreamBroken,
    UpstreamRequest,
    UpstreamTimeout,
    UpstreamUnreachable,
)

HOP_BY_HOP = frozenset(
    {
        'connection',
        'expect',
        'keep-alive',
        'proxy-authenticate',
        'proxy-authorization',
        'proxy-connection',
        'te',
        'trailer',
        'transfer-encoding',
        'upgrade',
    }
)
"""Headers that concern one connection, not the message: RFC 9110 section 7.6.1. So does
``Expect``, in effect: the server has answered it when the service reads the body."""

_OURS = ('User-Agent', 'Accept', 'Accept-Encoding', 'Content-Type')

_KEEPALIVE_S = 4.0
"""Less than the five seconds of llama.cpp and uvicorn, so that this side closes first,
and no request is sent on a connection that the server is closing."""

_MAX_HEADER = 65536


def end_to_end(headers: Headers) -> Headers:
    """Return the headers without those that concern one connection."""
    named = {
        token.strip().lower()
        for name, value in headers
        if name.lower() == 'connection'
        for token in value.split(',')
    }
    drop = HOP_BY_HOP | named
    return [(name, value) for name, value in headers if name.lower() not in drop]


class ProxiedAnswer:
    """An answer of the server."""

    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self._response = response
        self.status = response.status
        self.headers = end_to_end(
            [
                (name.decode('latin-1'), value.decode('latin-1'))
                for name, value in response.raw_headers
            ]
        )

    async def chunks(self) -> AsyncIterator[bytes]:
        """Yield the body as it arrives."""
        content = self._response.content
        try:
            while chunk := await content.readany():
                yield chunk
        except TimeoutError as ex:
            raise UpstreamBroken('upstream fell silent') from ex
        except (aiohttp.ClientError, OSError) as ex:
            raise UpstreamBroken('upstream broke off the stream') from ex

    def close(self) -> None:
        """Close the connection, unless the whole body was read: then it is reused."""
        self._response.close()


class Upstream:
    """The server.

    Args:
        settings: its URL, key and timeouts.
    """

    def __init__(self, settings: Settings) -> None:
        assert settings.upstream is not None
        self._origin = URL(settings.upstream).origin()
        self._base = settings.upstream
        self._key = settings.upstream_api_key
        self._first_byte_s = settings.upstream_first_byte_timeout
        # The whole answer has no time limit, because a generation may take hours. Only
        # silence has a limit.
        self._timeout = aiohttp.ClientTimeout(
            total=None,
            connect=None,
            sock_connect=settings.upstream_connect_timeout,
            sock_read=settings.upstream_first_byte_timeout,
        )
        self._session: aiohttp.ClientSession | None = None

    async def open(self) -> None:
        """Make the pool."""
        self._session = aiohttp.ClientSession(
            # The pool must not limit the number of streams.
            connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=_KEEPALIVE_S),
            timeout=self._timeout,
            auto_decompress=False,
            cookie_jar=aiohttp.DummyCookieJar(),
            skip_auto_headers=_OURS,
            max_line_size=_MAX_HEADER,
            max_field_size=_MAX_HEADER,
        )

    async def send(self, request: UpstreamRequest) -> Answer:
        """Send the request to the server; see ``Source``."""
        assert self._session is not None
        url = URL(self._base + request.target, encoded=True)
        if url.origin() != self._origin or url.user is not None:
            raise UpstreamUnreachable('the request target leads elsewhere')
        headers = CIMultiDict(end_to_end(request.headers))
        headers.popall('host', None)
        if self._key is not None:
            headers['Authorization'] = f'Bearer {self._key}'
        try:
            async with asyncio.timeout(self._first_byte_s):
                response = await self._session.request(
                    request.method,
                    url,
                    headers=headers,
                    data=request.body,
                    allow_redirects=False,
                )
        except TimeoutError as ex:
            raise UpstreamTimeout('upstream did not answer in time') from ex
        except (aiohttp.ClientError, OSError, ValueError) as ex:
            raise UpstreamUnreachable('upstream cannot be reached') from ex
        return ProxiedAnswer(response)

    async def close(self) -> None:
        """Close the pool."""
        if self._session is not None:
            await self._session.close()
