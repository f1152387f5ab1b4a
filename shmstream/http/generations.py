"""The generations of a worker, and how they end with it."""

from __future__ import annotations

import asyncio

from shmstream.http.generation import Generation


class Generations:
    """The generations of this worker."""

    def __init__(self) -> None:
        self._running: set[Generation] = set()

    def __len__(self) -> int:
        return len(self._running)

    def add(self, generation: Generation) -> Generation:
        """Keep a generation until it ends, and return it."""
        self._running.add(generation)
        generation.task.add_done_callback(lambda _: self._running.discard(generation))
        return generation

    async def wait(self, wait_s: float) -> None:
        """Wait until all generations have ended, at most ``wait_s`` seconds."""
        if self._running:
            await asyncio.wait([g.task for g in self._running], timeout=wait_s)

    async def abort_all(self) -> None:
        """Abort all generations that still run."""
        for generation in list(self._running):
            await generation.abort('the producing worker has shut down')
