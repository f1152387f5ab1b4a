"""Connections to the upstream: a pool of them, and new ones.

A connection from the pool may be dead: the upstream closes it while a request is on the
way. If a connection that was used before fails, and no byte of the answer has arrived,
the request is sent once more on a new connection. This needs the whole body again. So a
request whose body is an iterator is never sent over a used connection::

    body           sent over            if the connection is dead
    none, bytes    the pool             the request is sent once more
    an iterator    a new connection     (a new connection is not dead)

Two things are used that aiohttp does not document: a connector's ``_factory``, which
makes the protocol object of each connection (without it no request is sent twice), and
the ``_response`` of a WebSocket, to which its connection belongs.
"""

from __future__ import annotations

import functools
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
from aiohttp.client_proto import ResponseHandler
from aiohttp.connector import BaseConnector, Connection
from multidict import CIMultiDict
from yarl import URL

from shmstream.upstream.address import Address
from shmstream.upstream.exact_head import ExactConnection
from shmstream.upstream.source import Headers

_OURS = ('User-Agent', 'Accept', 'Accept-Encoding', 'Content-Type')

_KEEPALIVE_S = 4.0
"""Seconds for which the pool keeps an unused connection. llama.cpp and uvicorn keep it
for five seconds. So this side closes first, and no request is sent on a connection that
the server is closing."""

_MAX_HEADER = 65536


class Wire(ResponseHandler):
    """The protocol object of a connection.

    Attributes:
        requests: how many requests have been sent over the connection.
        answered: whether a byte has arrived since the last request.
    """

    requests = 0
    answered = False

    def data_received(self, data: bytes) -> None:
        """Note that bytes have arrived, and hand them to aiohttp."""
        self.answered = True
        super().data_received(data)


class Request(aiohttp.ClientRequest):
    """A request that notes its connection, and sends header values unchanged."""

    attempt: Attempt | None = None

    async def send(self, conn: Connection) -> aiohttp.ClientResponse:
        """Send the request; return the response, whose head has not arrived yet."""
        wire = conn.protocol
        if isinstance(wire, Wire):
            wire.requests += 1
            wire.answered = False
            if self.attempt is not None:
                self.attempt.wire = wire
        bare = self.attempt is not None and self.attempt.bare_query
        if not bare and all(value.isascii() for value in self.headers.values()):
            return await super().send(conn)
        exact: Any = ExactConnection(conn, bare)
        return await super().send(exact)


class Attempt:
    """One attempt to have a request answered: a middleware of aiohttp's session.

    Args:
        bare_query: the target ends in a question mark, which a URL does not keep.

    Attributes:
        wire: the connection that the request was sent over; None if there is none.
    """

    def __init__(self, bare_query: bool) -> None:
        self.bare_query = bare_query
        self.wire: Wire | None = None

    async def __call__(
        self, request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
    ) -> aiohttp.ClientResponse:
        """Send the request.

        Raises:
            Failed: the connection failed. With its own error, aiohttp would send some
                requests again, with what is left of their bodies.
        """
        if isinstance(request, Request):
            request.attempt = self
        try:
            return await handler(request)
        except (aiohttp.ClientOSError, aiohttp.ServerDisconnectedError) as ex:
            raise Failed from ex

    @property
    def died(self) -> bool:
        """Whether the connection had been used before, and no byte has arrived."""
        wire = self.wire
        return wire is not None and wire.requests > 1 and not wire.answered


class Failed(Exception):
    """An attempt has failed. ``__cause__`` is the error."""


class Pool:
    """The connections to the upstream, of one event loop.

    Args:
        address: the address of the upstream.
        proxy: URL of the proxy for the upstream; None if there is none.
        connect_s: seconds that a connection may take, name look-up and TLS included.
    """

    def __init__(self, address: Address, proxy: str | None, connect_s: float) -> None:
        self._proxy = proxy
        # The whole answer has no time limit, because a generation may take hours.
        # ``Upstream.send`` and ``Watch`` limit silence.
        self._timeout = aiohttp.ClientTimeout(
            total=None, connect=connect_s, sock_connect=connect_s, sock_read=None
        )
        # The pool must not limit the number of streams.
        self._pool = self._session(address, keepalive_timeout=_KEEPALIVE_S)
        self._new = self._session(address, force_close=True)

    def _session(self, address: Address, **options: Any) -> aiohttp.ClientSession:
        connector: BaseConnector
        if address.unix_path is not None:
            connector = aiohttp.UnixConnector(address.unix_path, limit=0, **options)
        else:
            connector = aiohttp.TCPConnector(limit=0, **options)
        factory: Any = getattr(connector, '_factory', None)
        if isinstance(factory, functools.partial) and factory.func is ResponseHandler:
            wires: Any = functools.partial(Wire, *factory.args, **factory.keywords)
            connector._factory = wires
        return aiohttp.ClientSession(
            connector=connector,
            timeout=self._timeout,
            auto_decompress=False,
            cookie_jar=aiohttp.DummyCookieJar(),
            skip_auto_headers=_OURS,
            max_line_size=_MAX_HEADER,
            max_field_size=_MAX_HEADER,
            request_class=Request,
            proxy=self._proxy,
        )

    async def request(
        self,
        method: str,
        url: URL,
        headers: CIMultiDict[str],
        body: bytes | AsyncIterator[bytes] | None,
        bare_query: bool = False,
    ) -> aiohttp.ClientResponse:
        """Send a request; return the response when its head has arrived.

        Raises:
            aiohttp.ClientError, OSError, TimeoutError, ValueError: see aiohttp.
        """
        held = body is None or isinstance(body, bytes)
        attempt = Attempt(bare_query)
        session = self._pool if held else self._new
        error: BaseException | None = None
        try:
            return await self._send(session, attempt, method, url, headers, body)
        except Failed as failed:
            error = failed.__cause__
        if held and attempt.died:
            try:
                again = Attempt(bare_query)
                return await self._send(self._new, again, method, url, headers, body)
            except Failed as failed:
                error = failed.__cause__
        assert error is not None
        # Raised outside of the handlers, so that the error keeps its own causes.
        raise error

    async def _send(
        self,
        session: aiohttp.ClientSession,
        attempt: Attempt,
        method: str,
        url: URL,
        headers: CIMultiDict[str],
        body: bytes | AsyncIterator[bytes] | None,
    ) -> aiohttp.ClientResponse:
        return await session.request(
            method,
            url,
            headers=headers,
            data=body,
            allow_redirects=False,
            middlewares=(attempt,),
        )

    async def web_socket(
        self,
        url: URL,
        headers: CIMultiDict[str],
        protocols: list[str],
        max_message: int,
        heartbeat_s: float,
    ) -> tuple[aiohttp.ClientWebSocketResponse, Headers]:
        """Open a WebSocket on a new connection.

        Returns:
            The WebSocket, and the headers of the answer that opened it.

        Raises:
            As ``request``; ``WSServerHandshakeError``: the answer is not 101.
        """
        socket = await self._new.ws_connect(
            url,
            headers=headers,
            protocols=protocols,
            max_msg_size=max_message,
            autoclose=False,
            heartbeat=heartbeat_s,
        )
        raw = socket._response.raw_headers
        return socket, [(n.decode('latin-1'), v.decode('latin-1')) for n, v in raw]

    async def close(self) -> None:
        """Close all connections."""
        await self._pool.close()
        await self._new.close()
