"""Following, in threads and on event loops."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable
from typing import Any

from shmstream import (
    Consumer,
    Follower,
)
from tests.support.leaks import wait_until

SOON_S = 3.0

Follow = Callable[[Follower], bytes]


def in_a_thread(follower: Follower) -> bytes:
    return b''.join(follower)


def on_a_loop(follower: Follower) -> bytes:
    async def collect() -> bytes:
        return b''.join([data async for data in follower])

    return asyncio.run(collect())


class Aside:
    """Follows in a thread of its own."""

    def __init__(self, follow: Follow, follower: Follower) -> None:
        self.follower = follower
        self.data: bytes | None = None
        self.error: BaseException | None = None
        self._follow = follow
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        try:
            self.data = self._follow(self.follower)
        except Exception as ex:
            self.error = ex

    def result(self) -> bytes:
        """Wait for the end."""
        self._thread.join(20)
        assert not self._thread.is_alive()
        if self.error is not None:
            raise self.error
        assert self.data is not None
        return self.data


def listens(consumer: Consumer, count: int = 1) -> bool:
    """Wait until a stream has this many followers."""
    followers, segment = consumer._attachment.process.followers, consumer._segment
    return wait_until(lambda: followers.everywhere(segment) == count)


def on_loop(work: Callable[[], Awaitable[Any]]) -> Any:
    """Run a coroutine on a new event loop, for 20 seconds at most."""

    async def bounded() -> Any:
        async with asyncio.timeout(20):
            return await work()

    return asyncio.run(bounded())


async def until(condition: Callable[[], bool]) -> None:
    """Let the loop turn until something is so; ``on_loop`` bounds it."""
    turns = asyncio.Event()
    while not condition():
        asyncio.get_running_loop().call_soon(turns.set)
        await turns.wait()
        turns.clear()
