"""The loop over an async iterator: it writes what the source yields into the stream."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
from collections.abc import AsyncIterable
from typing import Any

from shmstream.producer import Producer
from shmstream.producing.failures import fail
from shmstream.producing.loop_writer import LoopWriter, Turn
from shmstream.producing.pace import Pace
from shmstream.producing.sources import close_async
from shmstream.producing.writing import Writing
from shmstream.stream_end import SHUTTING_DOWN

log = logging.getLogger('shmstream')

_ITEMS = 64
"""Items that a source may yield without waiting before the event loop gets a turn."""


class AsyncSource:
    """Iterates over one source, in a task that does nothing else.

    Args:
        producer: the producer of the stream.
        source: the source.
        writing: encodes the items.
        pace: waits for the reader of the response.
        reader_turn: gives the readers of this loop a turn.
        cancelled: is set once the source has to stop.
    """

    def __init__(
        self,
        producer: Producer,
        source: AsyncIterable[Any],
        writing: Writing,
        pace: Pace,
        reader_turn: Turn,
        cancelled: threading.Event,
    ) -> None:
        self._producer = producer
        self._source = source
        self._iterator: object = source
        self._writing = writing
        self._pace = pace
        self._reader_turn = reader_turn
        self._cancelled = cancelled
        self._task: asyncio.Task[Any] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    async def run(self) -> None:
        """Write the source to its end, and close it.

        Raises:
            CancelledError: somebody else than ``stop`` has cancelled the task.
            Whatever is no ``Exception`` and the source raises.
        """
        self._loop, self._task = asyncio.get_running_loop(), asyncio.current_task()
        try:
            # Looked at after ``_loop`` is set: a ``stop`` in between cancels the task.
            if not self._cancelled.is_set():
                await self._iterate()
        except asyncio.CancelledError as ex:
            # The stop has ended the stream already, and then this changes nothing.
            # Otherwise the loop ends, or the source has cancelled itself.
            self._producer.abort(SHUTTING_DOWN)
            if not self._cancelled.is_set():
                raise
            log.debug('stream %s: stopped', self._producer.generation, exc_info=ex)
        except Exception as ex:
            fail(self._producer, ex)
        finally:
            self._task = None
            try:
                await close_async(self._iterator, self._source)
            finally:
                # Whatever has ended the source: no stream stays live without one.
                self._producer.abort(SHUTTING_DOWN)

    def stop(self) -> None:
        """Cancel the task if it is in the source; from any thread."""
        loop = self._loop
        if loop is not None:
            with contextlib.suppress(RuntimeError):  # the loop has closed
                loop.call_soon_threadsafe(self._cancel)

    def _cancel(self) -> None:
        if self._task is not None:
            self._task.cancel()

    async def _iterate(self) -> None:
        producer, writing, items = self._producer, self._writing, 0
        let_read = await self._reader_turn()
        writer = LoopWriter(producer, writing.incoming, self._pace, let_read)
        self._iterator = iterator = aiter(self._source)
        async for item in iterator:
            if self._cancelled.is_set():
                # The source has caught the cancellation.
                return
            items += 1
            if items % _ITEMS == 0:
                await asyncio.sleep(0)
            if writing.over:
                # Its readers have had their end. What the source has to do after its
                # last event (to store the answer) is not cut off.
                continue
            events = writing.take(item)
            if events and not await writer.write(events):
                return
            if writing.over:
                producer.finish()
        if not producer.state.final:
            rest = writing.rest()
            if not rest or await writer.write(rest):
                producer.finish()
