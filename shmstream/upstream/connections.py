"""An OpenAI-compatible server, reached over a pool of HTTP connections.

The client is aiohttp. Of the clients that were compared
(``bench/questions/http_clients.py``) and that keep raw headers and stream request
bodies, it costs the least per small streamed chunk.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from typing import Protocol

import aiohttp
from multidict import CIMultiDict
from yarl import URL

from shmstream.logs.shown_path import shown_path
from shmstream.metrics.catalogue import UPSTREAM
from shmstream.metrics.counts import Counts
from shmstream.upstream.address import Address
from shmstream.upstream.causes import chain, in_words
from shmstream.upstream.hops import end_to_end
from shmstream.upstream.pool import Pool
from shmstream.upstream.sockets import UpstreamSocket
from shmstream.upstream.source import (
    Answer,
    ClientLeft,
    Headers,
    HeldBody,
    OpenSocket,
    UpstreamBroken,
    UpstreamRefused,
    UpstreamRequest,
    UpstreamTimeout,
    UpstreamUnreachable,
)
from shmstream.upstream.timed_body import TimedBody
from shmstream.upstream.watch import Watch

log = logging.getLogger('shmstream.upstream')

KEY_HEADERS = ('authorization', 'api-key', 'x-api-key')
"""Headers in which servers look for a key. If the service has a key for the upstream,
it replaces whatever a client sends in them."""

SENT_AGAIN = 256 * 1024
"""Bytes, at most, of a held body that is kept until its answer begins, so that it can
be sent again if a pooled connection turns out to be dead. A larger body is sent over a
new connection."""

_HEARTBEAT_S = 120.0
"""Seconds between two pings. The upstream may take half of this time to answer a ping,
because a server that computes may not answer at once."""

_CLOSE_S = 2.0
_REFERENCES = ('location', 'content-location')


class UpstreamSettings(Protocol):
    """What ``Upstream`` needs of ``shmstream.settings.Settings``."""

    @property
    def upstream(self) -> str | None:
        """The base URL of the server."""

    @property
    def upstream_proxy(self) -> str | None:
        """The URL of the proxy that leads to the server; None if there is none."""

    @property
    def upstream_key_header(self) -> str:
        """The header in which the server's key is sent."""

    @property
    def upstream_api_key(self) -> str | None:
        """The server's key; None if there is none."""

    @property
    def upstream_connect_timeout(self) -> float:
        """Seconds that a connection may take."""

    @property
    def upstream_first_byte_timeout(self) -> float:
        """Seconds until an answer must begin, and for which it may be silent.

        If the request's body is an iterator, they begin anew with each of its pieces.
        """


class ProxiedAnswer:
    """An answer of the server.

    Args:
        response: the response, whose head has arrived.
        headers: the end-to-end headers, as the service's client gets them.
        watch: checks that the read of the body does not wait in vain.
    """

    def __init__(
        self, response: aiohttp.ClientResponse, headers: Headers, watch: Watch
    ) -> None:
        self._response = response
        self._watch = watch
        self._waits = False
        self.status = response.status
        self.headers = headers
        coding = response.headers.get('Transfer-Encoding', '').lower()
        self.framed = 'Content-Length' in response.headers or 'chunked' in coding
        self.steps = 0

    async def chunks(self) -> AsyncIterator[bytes]:
        """Yield the body as it arrives."""
        content = self._response.content
        self._watch.enter(self)
        try:
            while True:
                self.steps += 1
                self._waits = True
                chunk = await content.readany()
                self._waits = False
                if not chunk:
                    return
                yield chunk
        except TimeoutError as ex:
            raise UpstreamBroken('upstream fell silent') from ex
        except (aiohttp.ClientError, OSError) as ex:
            raise UpstreamBroken('upstream broke off the stream') from ex
        finally:
            self._waits = False
            self._watch.leave(self)

    def waits(self) -> bool:
        """See ``watch.Read``."""
        return self._waits

    def lost(self) -> bool:
        """See ``watch.Read``."""
        connection = self._response.connection
        transport = None if connection is None else connection.transport
        return transport is None or transport.is_closing()

    def fail(self, silent: bool) -> None:
        """See ``watch.Read``."""
        error = TimeoutError() if silent else aiohttp.ClientPayloadError()
        self._response.content.set_exception(error)

    def close(self) -> None:
        """Close the connection. If the whole body was read, the connection is kept."""
        self._watch.leave(self)
        self._response.close()


class Upstream:
    """Sends requests to an OpenAI-compatible server.

    Args:
        settings: the server's address, key and timeouts, and the proxy that leads to
            the server.
        counts: returns what this process counts in.
    """

    def __init__(
        self, settings: UpstreamSettings, counts: Callable[[], Counts] = Counts
    ) -> None:
        self._counts = counts
        assert settings.upstream is not None
        self._address = Address.parse(settings.upstream)
        self._proxy = settings.upstream_proxy
        self._origin = URL(self._address.origin).origin()
        self._key_header = settings.upstream_key_header
        self._key = settings.upstream_api_key
        self._connect_s = settings.upstream_connect_timeout
        self._first_byte_s = settings.upstream_first_byte_timeout
        self._watch = Watch(settings.upstream_first_byte_timeout)
        self._pool: Pool | None = None

    async def open(self) -> None:
        """Make the pool."""
        self._pool = Pool(self._address, self._proxy, self._connect_s)

    async def send(self, request: UpstreamRequest) -> Answer:
        """Send the request to the server; see ``Source``."""
        assert self._pool is not None
        text = self._address.url(request.target)
        url = self._checked(text)
        bare_query = text.partition('?')[1:] == ('?', '')
        headers = self._headers(request)
        body = request.body
        if isinstance(body, HeldBody) and body.size <= SENT_AGAIN:
            body = body.whole()
        try:
            async with asyncio.timeout(self._first_byte_s) as limit:
                if body is not None and not isinstance(body, bytes):
                    body = TimedBody(body, limit, self._first_byte_s)
                response = await self._pool.request(
                    request.method, url, headers, body, bare_query
                )
        except (TimeoutError, aiohttp.ClientError, OSError, ValueError) as ex:
            raise self._failed(request, ex) from ex
        except asyncio.CancelledError:
            self._count('left')
            raise
        if response.status == 101:
            response.close()
            raise self._failed(request, 'it switched protocols unasked')
        self._count(response.status)
        return ProxiedAnswer(
            response, self._handed_on(response, request.prefix), self._watch
        )

    async def web_socket(
        self, request: UpstreamRequest, protocols: list[str], max_message: int
    ) -> OpenSocket:
        """Open a WebSocket to the server; see ``Source``."""
        assert self._pool is not None
        url = self._checked(self._address.url(request.target))
        headers = self._headers(request)
        for name in [n for n in headers if n.lower().startswith('sec-websocket-')]:
            headers.popall(name, None)
        try:
            async with asyncio.timeout(self._first_byte_s):
                socket, response_headers = await self._pool.web_socket(
                    url, headers, protocols, max_message, _HEARTBEAT_S
                )
        except aiohttp.WSServerHandshakeError as ex:
            self._count(ex.status)
            raise UpstreamRefused(ex.status) from None
        except (TimeoutError, aiohttp.ClientError, OSError, ValueError) as ex:
            raise self._failed(request, ex) from ex
        self._count(101)
        return UpstreamSocket(socket, end_to_end(response_headers))

    def _checked(self, text: str) -> URL:
        url = URL(text, encoded=True)
        if url.origin() != self._origin or url.user is not None:
            raise UpstreamUnreachable('the request target leads elsewhere')
        return url

    def _headers(self, request: UpstreamRequest) -> CIMultiDict[str]:
        headers = CIMultiDict(end_to_end(request.headers))
        headers.popall('host', None)
        if self._key is not None:
            for name in KEY_HEADERS:
                headers.popall(name, None)
            bearer = self._key_header == 'Authorization'
            headers[self._key_header] = f'Bearer {self._key}' if bearer else self._key
        return headers

    def _handed_on(self, response: aiohttp.ClientResponse, prefix: str) -> Headers:
        headers = end_to_end(
            [
                (name.decode('latin-1'), value.decode('latin-1'))
                for name, value in response.raw_headers
            ]
        )
        for at, (name, value) in enumerate(headers):
            lower = name.lower()
            if lower in _REFERENCES:
                headers[at] = name, self._address.ours(value, prefix)
            elif lower == 'refresh':
                headers[at] = name, self._address.ours_in_refresh(value, prefix)
        return headers

    def _failed(
        self, request: UpstreamRequest, why: Exception | str
    ) -> UpstreamUnreachable | UpstreamTimeout:
        """Log why there is no answer; return the exception to raise."""
        error: UpstreamUnreachable | UpstreamTimeout
        causes = [] if isinstance(why, str) else chain(why)
        if any(isinstance(cause, ClientLeft) for cause in causes):
            # No client is left to be told, and the upstream did nothing wrong.
            self._count('left')
            return UpstreamUnreachable('the client left within its request')
        if isinstance(why, aiohttp.ConnectionTimeoutError):
            error = UpstreamTimeout(
                'upstream cannot be reached: no connection came about within'
                f' {self._connect_s:g} s'
            )
        elif isinstance(why, TimeoutError):
            error = UpstreamTimeout(
                'upstream did not answer in time: nothing came within'
                f' {self._first_byte_s:g} s'
            )
        else:
            words = why if isinstance(why, str) else in_words(why)
            error = UpstreamUnreachable(f'upstream cannot be reached: {words}')
        self._count('timeout' if isinstance(error, UpstreamTimeout) else 'unreachable')
        path = shown_path(request.target)
        log.warning('%s %s: %s (%s)', request.method, path, error, self._address.shown)
        return error

    def _count(self, what: int | str) -> None:
        """Count a request: a status of the upstream, or why there is none."""
        # A status beyond 599 has no class, and is as wrong as those of the last.
        code = f'{min(max(what // 100, 1), 5)}xx' if isinstance(what, int) else what
        self._counts().add(UPSTREAM.of(code))

    async def close(self) -> None:
        """Close the pool."""
        self._watch.close()
        if self._pool is not None:
            try:
                async with asyncio.timeout(_CLOSE_S):
                    await self._pool.close()
            except TimeoutError:
                log.warning('connections to the upstream do not close')
