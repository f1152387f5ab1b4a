"""Falcon on Redis streams, written as well as we could.

Two workers. Each has one XREAD for all the streams that its readers follow, copies what
comes into a buffer per stream, and wakes that stream's readers. So a reader costs Redis
nothing. To add a stream to the XREAD that is under way, the worker writes to a stream
of its own, which ends that XREAD and has the worker begin another.
"""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import AsyncIterator
from contextlib import AbstractContextManager
from typing import Any

import falcon
import falcon.asgi

from bench.measure import Process
from bench.peers.base import GunicornPeer, Session


class RedisShared(GunicornPeer):
    """redis-server on a Unix socket, nothing on disk, and two gunicorn workers."""

    name = 'redis'
    app = 'bench.peers.redis_shared:create_app()'

    def missing(self) -> str | None:
        if shutil.which('redis-server') is None:
            return 'no redis-server (see bench/peers/setup.sh)'
        try:
            import redis  # noqa: F401
        except ImportError:
            return "no redis client (pip install 'shmstream[bench]')"
        return None

    def start(self) -> None:
        socket = self.scratch / 'redis.sock'
        command = ['redis-server', '--port', '0', '--unixsocket', str(socket)]
        command += ['--save', '', '--appendonly', 'no', '--dir', str(self.scratch)]
        process = self.launch(command)
        _wait_path(socket, process)
        self.serve({'BENCH_REDIS_SOCKET': str(socket)})

    def streams(self, prefix: str, count: int) -> AbstractContextManager[Session]:
        path = f'/stream/{prefix}-%s?from=%o'
        socket = str(self.scratch / 'redis.sock')
        return self.written_by('redis', socket, prefix, count, path, '')


def _wait_path(path: os.PathLike[str], process: Process) -> None:
    import time

    for _ in range(500):
        if os.path.exists(path):
            return
        time.sleep(0.01)
    raise RuntimeError(f'redis-server did not start:\n{process.text()}')


class Shared:
    """One stream in one worker: its bytes so far, and the readers that wait."""

    def __init__(self) -> None:
        self.data = bytearray()
        self.last = b'0'
        self.over = False
        self.readers = 0
        self._waiting: list[asyncio.Future[None]] = []

    def add(self, entries: list[tuple[bytes, list[bytes]]]) -> None:
        """Take over entries of the Redis stream."""
        for _, (field, value) in entries:
            if field == b'd':
                self.data += value
            else:
                self.over = True
        self.last = entries[-1][0]
        waiting, self._waiting = self._waiting, []
        for future in waiting:
            if not future.done():
                future.set_result(None)

    async def more(self) -> None:
        """Wait for the next ``add``."""
        future = asyncio.get_running_loop().create_future()
        self._waiting.append(future)
        await future


class Hub:
    """All streams that this worker's readers follow, and the one XREAD for them."""

    def __init__(self) -> None:
        from redis.asyncio import Redis

        path = os.environ['BENCH_REDIS_SOCKET']
        self._redis: Any = Redis(unix_socket_path=path, protocol=2)
        # The raw reply: the callback would make a dictionary of each entry.
        self._redis.response_callbacks.pop('XREAD', None)
        self._shared: dict[bytes, Shared] = {}
        self._again = b'again-%d' % os.getpid()
        self._again_at = b'0'
        self._waking = False
        self._task: asyncio.Task[None] | None = None

    async def join(self, key: bytes) -> Shared:
        """One more reader of this stream."""
        if self._task is None:
            self._task = asyncio.create_task(self._run())
        shared = self._shared.get(key)
        if shared is not None:
            shared.readers += 1
            return shared
        shared = self._shared[key] = Shared()
        # Counted before the await: another reader's leaving must not take it away.
        shared.readers += 1
        if not self._waking:
            # One at a time: the next XREAD has all streams that joined until then.
            self._waking = True
            await self._redis.execute_command(
                'XADD', self._again, 'MAXLEN', '~', 1000, '*', 'd', ''
            )
        return shared

    def leave(self, key: bytes) -> None:
        """One reader less; with the last one the buffer goes."""
        self._shared[key].readers -= 1
        if not self._shared[key].readers:
            del self._shared[key]

    async def _run(self) -> None:
        while True:
            asked = dict(self._shared)
            keys = list(asked)
            last = [shared.last for shared in asked.values()]
            reply = await self._redis.execute_command(
                *('XREAD', 'COUNT', 1000, 'BLOCK', 0, 'STREAMS'),
                *(self._again, *keys, self._again_at, *last),
            )
            for key, entries in reply or ():
                if key == self._again:
                    self._again_at = entries[-1][0]
                    self._waking = False
                elif self._shared.get(key) is asked[key]:
                    # Not a stream that was left and joined again since the XREAD began.
                    asked[key].add(entries)


class StreamResource:
    def __init__(self) -> None:
        self._hub: Hub | None = None

    async def on_get(
        self, req: falcon.asgi.Request, resp: falcon.asgi.Response, name: str
    ) -> None:
        if self._hub is None:
            self._hub = Hub()
        resp.content_type = 'text/event-stream'
        offset = req.get_param_as_int('from') or 0
        resp.stream = self._follow(self._hub, name.encode(), offset)

    async def _follow(self, hub: Hub, key: bytes, offset: int) -> AsyncIterator[bytes]:
        shared = await hub.join(key)
        try:
            while True:
                chunk = bytes(shared.data[offset:])
                if chunk:
                    offset += len(chunk)
                    yield chunk
                elif shared.over:
                    return
                else:
                    await shared.more()
        finally:
            hub.leave(key)


def create_app() -> falcon.asgi.App[falcon.asgi.Request, falcon.asgi.Response]:
    """The application."""
    app = falcon.asgi.App()
    app.add_route('/stream/{name}', StreamResource())
    return app
