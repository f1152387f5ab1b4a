"""A production that is a thread; under gevent, a greenlet."""

from __future__ import annotations

import asyncio
import contextvars
import threading
from collections.abc import AsyncIterable, Callable

from shmstream.errors import LocalError
from shmstream.producer import Producer
from shmstream.producing.async_source import AsyncSource
from shmstream.producing.blocking_source import BlockingSource
from shmstream.producing.failures import fail
from shmstream.producing.loop_writer import Turn
from shmstream.producing.pace import Pace
from shmstream.producing.production import Production
from shmstream.producing.sources import Source, called
from shmstream.producing.writing import Writing
from shmstream.wakeups.doorbell_greenlet import patched


class ProducingThread(Production):
    """Runs a source in a thread of its own.

    The thread is a daemon: a process that is told to end waits for it as long as the
    drain allows (``drain``), and not for ever.

    Args:
        producer: the producer of the stream.
        source: the source.
        writing: encodes the items.
        pace: waits for the reader of the response.
        reader_turn: for an async source, which runs on a loop of the thread's own.
    """

    def __init__(
        self,
        producer: Producer,
        source: Source,
        writing: Writing,
        pace: Pace,
        reader_turn: Turn,
    ) -> None:
        super().__init__()
        self._producer: Producer = producer
        self._source = source
        self._writing = writing
        self._pace = pace
        self._reader_turn = reader_turn
        self._on_loop: AsyncSource | None = None

    def begin(self, on_end: Callable[[], object]) -> None:
        """Begin to run the source, in the caller's context (``contextvars``).

        Args:
            on_end: is called in the thread when it is about to end.

        Raises:
            RuntimeError: the system has no more threads.
        """
        context = contextvars.copy_context()

        def run() -> None:
            try:
                context.run(self._run)
            finally:
                self._end()
                on_end()

        name = f'shmstream {self._producer.generation}'
        threading.Thread(target=run, name=name, daemon=True).start()

    def _run(self) -> None:
        try:
            items = called(self._source, self.cancelled)
            if isinstance(items, AsyncIterable) and patched():
                raise LocalError('greenlets cannot run an async source')
        except Exception as ex:
            fail(self._producer, ex)
            return
        if isinstance(items, AsyncIterable):
            self._on_loop = AsyncSource(
                self._producer,
                items,
                self._writing,
                self._pace,
                self._reader_turn,
                self.cancelled,
            )
            asyncio.run(self._on_loop.run())
        else:
            BlockingSource(
                self._producer, items, self._writing, self._pace, self.cancelled
            ).run()

    def stop(self) -> None:
        """Have the source see ``cancelled``; an async source is cancelled."""
        super().stop()
        if self._on_loop is not None:
            self._on_loop.stop()
