"""A production that is a task of the running event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from shmstream.producer import Producer
from shmstream.producing.async_source import AsyncSource
from shmstream.producing.production import Production
from shmstream.stream_end import SHUTTING_DOWN


class ProducingTask(Production):
    """Runs an async source. Make it on the event loop that the source belongs to.

    Args:
        producer: the producer of the stream.
    """

    def __init__(self, producer: Producer) -> None:
        super().__init__(producer)
        self._source: AsyncSource | None = None

    def begin(self, source: AsyncSource, on_end: Callable[[], object]) -> None:
        """Begin to run the source.

        Args:
            source: the source.
            on_end: is called when the task has ended.
        """
        self._source = source
        name = f'shmstream {self.producer.generation}'
        task = asyncio.get_running_loop().create_task(source.run(), name=name)

        def end(task: asyncio.Task[None]) -> None:
            # A task that is cancelled before its first step runs none of its code.
            self.producer.abort(SHUTTING_DOWN)
            self.ended.set()
            on_end()

        task.add_done_callback(end)

    def stop(self) -> None:
        """Stop the source, by cancelling its task."""
        super().stop()
        if self._source is not None:
            self._source.stop()
