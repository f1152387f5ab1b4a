"""The loop over an async iterator: it writes what the source yields into the stream."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
from collections.abc import AsyncIterable, Awaitable, Callable
from typing import Any

from shmstream.producer import Producer
from shmstream.producing.failures import fail
from shmstream.producing.pace import Pace
from shmstream.producing.sources import close_async
from shmstream.producing.writing import Writing
from shmstream.stream_end import SHUTTING_DOWN

log = logging.getLogger('shmstream')

_ITEMS = 64
"""Items that a source may yield without waiting before the event loop gets a turn."""

Turn = Callable[[], Awaitable[Callable[[], None]]]
"""Returns a function that gives the running loop's followers the new bytes."""


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
        self._let_read: Callable[[], None] = _nobody
        self._cancelled = cancelled
        self._task: asyncio.Task[Any] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._unread = self._items = 0

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
        self._let_read = await self._reader_turn()
        iterator = aiter(self._source)
        self._iterator = iterator
        async for item in iterator:
            if self._cancelled.is_set():
                # The source has caught the cancellation.
                return
            if self._writing.over:
                # Its readers have had their end. What the source has to do after its
                # last event (to store the answer) is not cut off.
                await self._turn(0)
                continue
            for portion in self._writing.take(item):
                if not await self._write(portion):
                    return
            if self._writing.over:
                self._producer.finish()
        if not self._producer.state.final:
            for portion in self._writing.rest():
                if not await self._write(portion):
                    return
            self._producer.finish()

    async def _write(self, portion: bytes) -> bool:
        await self._turn(len(portion))
        await self._producer.drain()
        if not self._producer.write(portion):
            return False
        self._unread += len(portion)
        return True

    async def _turn(self, size: int) -> None:
        """Give the loop a turn if it is due before ``size`` bytes are written."""
        most = self._writing.portions.most
        self._items += 1
        if self._unread + size > most:
            self._unread = 0
            self._let_read()
            await asyncio.sleep(0)
            last = self._writing.portions.last_event
            await self._pace.room(self._producer, max(size, most) + last)
        elif self._items >= _ITEMS:
            self._items = 0
            await asyncio.sleep(0)


def _nobody() -> None:
    """Nobody reads yet."""
