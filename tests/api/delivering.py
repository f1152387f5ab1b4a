"""Delivering, on an event loop."""

from __future__ import annotations

import asyncio

from shmstream import Follower
from tests.api.following import until


class Sink:
    """Takes bytes, one call at a time."""

    def __init__(self) -> None:
        self.got = bytearray()
        self.sizes: list[int] = []
        self.in_tasks = 0
        self.busy = False
        self.gate = asyncio.Event()
        self.gate.set()

    async def send(self, data: bytes) -> None:
        """Wait while the gate is closed."""
        assert not self.busy
        self.busy = True
        self.sizes.append(len(data))
        self.in_tasks += asyncio.current_task() is not None
        if not self.gate.is_set():
            await self.gate.wait()
        self.got += data
        self.busy = False


async def parked(follower: Follower) -> None:
    """Let the loop turn until the follower's task has nothing to send."""

    def waits() -> bool:
        return follower._watch is not None and bool(follower._watch.takers)

    await until(waits)


async def begun(follower: Follower, sink: Sink) -> asyncio.Task[None]:
    """Begin to deliver, and come to the live edge."""
    task = asyncio.create_task(follower.deliver(sink.send))
    await parked(follower)
    return task
