"""The upstream: plays the script that a request names, and notes what became of it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import random

from tests.chaos.content import Script


class Upstream:
    """A small HTTP/1.1 server on a port of its own.

    Args:
        seed: of what it decides by itself: chunk sizes and pauses.
    """

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._server: asyncio.Server | None = None
        self.scripts: dict[str, Script] = {}
        """By nonce; whoever posts one puts it here."""
        self.strangers = 0
        """Requests that name no script: none is to come."""

    @property
    def url(self) -> str:
        """What SHMSTREAM_UPSTREAM has to be."""
        assert self._server is not None
        return f'http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}'

    async def start(self) -> None:
        """Listen."""
        self._server = await asyncio.start_server(self._serve, '127.0.0.1', 0)

    async def stop(self) -> None:
        """Stop listening; what is under way is cut."""
        if self._server is not None:
            self._server.close()
            for script in self.scripts.values():
                script.over.set()
            await asyncio.sleep(0)

    async def _serve(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        try:
            # aiohttp may open a connection and not use it.
            async with asyncio.timeout(60):
                head = await reader.readuntil(b'\r\n\r\n')
                body = await reader.readexactly(_content_length(head))
            script = self.scripts.get(str(json.loads(body).get('nonce')))
            if script is None:
                self.strangers += 1
                return
            await self._play(script, reader, writer)
        except (OSError, asyncio.IncompleteReadError, TimeoutError):
            pass
        finally:
            writer.transport.abort() if writer.is_closing() else writer.close()

    async def _play(
        self,
        script: Script,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> None:
        now = asyncio.get_running_loop().time
        script.started_at = now()
        hung_up = asyncio.create_task(_end_of(reader))
        try:
            if await _pause(hung_up, script.prefill_s):
                script.finish('hung up', now())
            elif script.streams:
                await self._stream(script, hung_up, writer)
            else:
                if script.end != 'refused':
                    writer.write(_whole(script))
                    await writer.drain()
                script.finish(script.end, now())
        except (OSError, RuntimeError):
            # The latter is uvloop's, of a connection that has been closed already.
            script.finish('hung up', now())
        finally:
            hung_up.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await hung_up
            script.finish('stopped', now())

    async def _stream(
        self,
        script: Script,
        hung_up: asyncio.Task[None],
        writer: asyncio.StreamWriter,
    ) -> None:
        now = asyncio.get_running_loop().time
        rng = random.Random(f'{self._seed} {script.nonce}')
        writer.write(
            b'HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n'
            b'Transfer-Encoding: chunked\r\nConnection: close\r\n\r\n'
        )
        while script.sent < script.stop_at:
            size = min(rng.randint(*script.pace.chunk), script.stop_at - script.sent)
            at = script.sent
            script.sent = at + size
            writer.write(b'%x\r\n%s\r\n' % (size, script.data[at : script.sent]))
            await writer.drain()
            if await _pause(hung_up, rng.uniform(*script.pace.pause_s)):
                script.finish('hung up', now())
                return
        if script.end == 'complete':
            writer.write(b'0\r\n\r\n')
            await writer.drain()
        elif rng.random() < 0.5:
            writer.transport.abort()
        script.finish(script.end, now())


async def _end_of(reader: asyncio.StreamReader) -> None:
    with contextlib.suppress(OSError):
        await reader.read(1)


async def _pause(hung_up: asyncio.Task[None], wait_s: float) -> bool:
    """Wait, or until the other side has hung up; return whether it has."""
    if wait_s <= 0:
        await asyncio.sleep(0)
    else:
        await asyncio.wait((hung_up,), timeout=wait_s)
    return hung_up.done()


def _content_length(head: bytes) -> int:
    for line in head.split(b'\r\n'):
        name, _, value = line.partition(b':')
        if name.strip().lower() == b'content-length':
            return int(value)
    return 0


def _whole(script: Script) -> bytes:
    body = script.plain_body
    return (
        b'HTTP/1.1 %d Scripted\r\nContent-Type: application/json\r\n'
        b'Content-Length: %d\r\nConnection: close\r\n\r\n%s'
    ) % (script.status, len(body), body)
