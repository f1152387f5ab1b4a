"""A production that is a task of the running event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Protocol

from shmstream.producing.production import Production


class Runs(Protocol):
    """What the task runs: it writes one source into the stream."""

    async def run(self) -> None:
        """Write until the source, or the stream, ends."""

    def stop(self) -> None:
        """Have ``run`` end soon, if it has begun; from any thread."""


class ProducingTask(Production):
    """Runs a source. Make it on the event loop that the source belongs to."""

    _runs: Runs | None = None

    def begin(self, runs: Runs, on_end: Callable[[], object]) -> asyncio.Task[None]:
        """Begin to run, and return the task.

        Args:
            runs: writes the source into the stream.
            on_end: is called when the task has ended.
        """
        self._runs = runs
        task = asyncio.get_running_loop().create_task(runs.run())
        if self._producer is not None:
            task.set_name(f'shmstream {self._producer.generation}')

        def end(task: asyncio.Task[None]) -> None:
            # A task that is cancelled before its first step runs none of its code.
            self._end()
            # What runs may refer to its production.
            self._runs = None
            on_end()

        task.add_done_callback(end)
        if self.cancelled.is_set():
            # It was stopped before there was anything to stop.
            runs.stop()
        return task

    def stop(self) -> None:
        """Stop the source, by cancelling its task."""
        super().stop()
        # The event loop's thread may set it to None meanwhile.
        runs = self._runs
        if runs is not None:
            runs.stop()
