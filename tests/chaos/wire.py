"""HTTP on a raw socket: every byte, and whether the closing chunk came."""

from __future__ import annotations

import asyncio
import json
import socket
from typing import Any

from tests.support.patience import Patience

_LOOK_S = 0.25


class Dropped(Exception):
    """The connection ended before there was an answer."""


class Unanswered(Exception):
    """There was no answer in time."""


class Answer:
    """An answer whose body is still coming. Close it.

    Attributes:
        whole: True after the end, False after a cut, None before either.
    """

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, head: bytes
    ) -> None:
        self._reader = reader
        self._writer = writer
        lines = head.decode('latin-1').split('\r\n')
        self.status = int(lines[0].split(' ')[1])
        self.headers: dict[str, str] = {}
        for line in lines[1:]:
            name, colon, value = line.partition(':')
            if colon:
                self.headers[name.strip().lower()] = value.strip()
        chunked = self.headers.get('transfer-encoding', '').lower() == 'chunked'
        length = self.headers.get('content-length')
        self._left: int | None = None if length is None else int(length)
        self._chunked = chunked
        self._chunk = 0
        self._between = False
        self.whole: bool | None = None

    @property
    def generation(self) -> str:
        """The session that it is of; empty if none is named."""
        return self.headers.get('stream-generation', '')

    @property
    def worker(self) -> int:
        """The process that serves it; 0 if it does not say."""
        return int(self.headers.get('stream-worker', '0'))

    async def read(self, wait_s: float) -> bytes:
        """Return bytes as they come, b'' at the end or at a cut.

        Raises:
            TimeoutError: nothing came; the answer is as it was.
        """
        if self.whole is not None:
            return b''
        try:
            async with asyncio.timeout(wait_s):
                data = await self._read()
        except (OSError, ValueError, asyncio.IncompleteReadError) as ex:
            if isinstance(ex, TimeoutError):
                raise
            self.whole = False
            return b''
        return data

    async def _read(self) -> bytes:
        if not self._chunked:
            return await self._read_counted()
        if self._between:
            await self._reader.readexactly(2)
            self._between = False
        if not self._chunk:
            line = await self._reader.readuntil(b'\r\n')
            size = int(line.split(b';')[0], 16)
            if not size:
                await self._reader.readexactly(2)
                self.whole = True
                return b''
            self._chunk = size
        data = await self._reader.read(min(self._chunk, 1 << 16))
        if not data:
            self.whole = False
        self._chunk -= len(data)
        self._between = not self._chunk
        return data

    async def _read_counted(self) -> bytes:
        if self._left == 0:
            self.whole = True
            return b''
        data = await self._reader.read(
            1 << 16 if self._left is None else min(self._left, 1 << 16)
        )
        if not data:
            self.whole = self._left is None
        elif self._left is not None:
            self._left -= len(data)
        return data

    async def body(self, wait_s: float) -> bytes:
        """Read all of it and close."""
        parts = []
        try:
            while data := await self.read(wait_s):
                parts.append(data)
        finally:
            self.close()
        return b''.join(parts)

    async def json(self, wait_s: float) -> Any:
        """Read a JSON body; None if it is none."""
        try:
            return json.loads(await self.body(wait_s))
        except (ValueError, TimeoutError):
            return None

    def close(self) -> None:
        """Hang up."""
        self._writer.transport.abort()


async def request(
    port: int,
    method: str,
    target: str,
    headers: dict[str, str] | None = None,
    body: bytes = b'',
    *,
    wait_s: float,
    receive_buffer: int | None = None,
) -> Answer:
    """Send a request on a connection of its own and wait for the answer's head.

    The wait counts as far as the machine lets this process see it pass.

    Raises:
        Dropped: the connection ended before.
        Unanswered: nothing came in ``wait_s``.
    """
    asked = asyncio.create_task(
        _request(port, method, target, headers, body, receive_buffer)
    )
    patience = Patience(_LOOK_S * 1.2)
    try:
        while not asked.done():
            await asyncio.wait((asked,), timeout=_LOOK_S)
            if not asked.done() and patience.look() >= wait_s:
                raise Unanswered(f'{method} {target}')
        return asked.result()
    except asyncio.CancelledError:
        if asked.done() and not asked.cancelled() and asked.exception() is None:
            asked.result().close()
        raise
    finally:
        if not asked.done():
            asked.cancel()
            await asyncio.wait((asked,))


async def _request(
    port: int,
    method: str,
    target: str,
    headers: dict[str, str] | None,
    body: bytes,
    receive_buffer: int | None,
) -> Answer:
    sock = socket.socket()
    sock.setblocking(False)
    if receive_buffer is not None:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
    writer: asyncio.StreamWriter | None = None
    try:
        loop = asyncio.get_running_loop()
        await loop.sock_connect(sock, ('127.0.0.1', port))
        reader, writer = await asyncio.open_connection(sock=sock, limit=1 << 15)
        lines = [f'{method} {target} HTTP/1.1', f'Host: 127.0.0.1:{port}']
        lines += [f'{name}: {value}' for name, value in (headers or {}).items()]
        if body or method == 'POST':
            lines.append(f'Content-Length: {len(body)}')
        head = '\r\n'.join([*lines, '', '']).encode()
        writer.write(head + body)
        await writer.drain()
        answer = Answer(reader, writer, await reader.readuntil(b'\r\n\r\n'))
        if method == 'HEAD':
            answer.whole = True
        return answer
    except (OSError, asyncio.IncompleteReadError) as ex:
        _abort(sock, writer)
        raise Dropped(f'{method} {target}: {ex!r}') from ex
    except BaseException:
        _abort(sock, writer)
        raise


def _abort(sock: socket.socket, writer: asyncio.StreamWriter | None) -> None:
    if writer is None:
        sock.close()
    else:
        writer.transport.abort()
