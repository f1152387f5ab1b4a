"""An open WebSocket of the upstream; ``http.websockets`` relays its messages."""

from __future__ import annotations

import asyncio

import aiohttp
from aiohttp import WSMsgType

from shmstream.upstream.source import Closed, Headers

_MOST_REASON = 123
"""Bytes of a close frame's reason (RFC 6455, section 5.5)."""

_TOO_BIG = 1009
_ABNORMAL = 1006


class UpstreamSocket:
    """An open WebSocket.

    Args:
        socket: aiohttp's object for it.
        headers: the end-to-end headers of the answer that opened it.

    Attributes:
        protocol: the subprotocol that the upstream has chosen; None if it chose none.
    """

    def __init__(
        self, socket: aiohttp.ClientWebSocketResponse, headers: Headers
    ) -> None:
        self._socket = socket
        self.protocol = socket.protocol
        self.headers = headers

    async def receive(self) -> str | bytes | Closed:
        """Wait for a message. After the last one, return how the upstream closed."""
        while True:
            message = await self._socket.receive()
            if message.type is WSMsgType.TEXT:
                text: str = message.data
                return text
            if message.type is WSMsgType.BINARY:
                data: bytes = message.data
                return data
            if message.type is WSMsgType.CLOSE:
                return Closed(message.data or 1000, message.extra or '')
            if message.type is WSMsgType.ERROR:
                code = getattr(message.data, 'code', None)
                return Closed(_TOO_BIG if code == _TOO_BIG else _ABNORMAL)
            if message.type in (WSMsgType.CLOSED, WSMsgType.CLOSING):
                return Closed(self._socket.close_code or _ABNORMAL)

    async def send(self, message: str | bytes) -> None:
        """Send a message. Raises ``OSError`` if the connection is closed."""
        try:
            if isinstance(message, str):
                await self._socket.send_str(message)
            else:
                await self._socket.send_bytes(message)
        except aiohttp.ClientError as ex:
            raise ConnectionResetError('the upstream has gone') from ex

    async def close(self, code: int, reason: str, wait_s: float) -> None:
        """Close; wait at most ``wait_s`` seconds for the upstream to close as well."""
        said = reason.encode()[:_MOST_REASON]
        try:
            async with asyncio.timeout(wait_s):
                await self._socket.close(code=code, message=said)
        except TimeoutError:
            self.drop()

    def drop(self) -> None:
        """Cut the connection."""
        response = self._socket._response
        response.close()
