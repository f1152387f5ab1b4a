"""Writes whole events into a ring from an event loop, at the pace of its readers."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from shmstream.dialects.incoming import Incoming
from shmstream.producer import Producer
from shmstream.producing.pace import Pace
from shmstream.producing.portions import Portions

Turn = Callable[[], Awaitable[Callable[[], None]]]
"""Returns a function that gives the running loop's followers the new bytes."""


class LoopWriter:
    """Writes for one source.

    If a source sends much at once, the ring could overtake the readers on the same
    event loop before they have a turn. So the writer lets the readers read after each
    portion.

    Args:
        producer: the producer of the stream, which is live.
        incoming: knows how the events end.
        pace: waits for the reader of the response.
        let_read: gives the readers of this event loop what has been written.
    """

    def __init__(
        self,
        producer: Producer,
        incoming: Incoming,
        pace: Pace,
        let_read: Callable[[], None],
    ) -> None:
        self._producer = producer
        self._incoming = incoming
        self._pace = pace
        self._let_read = let_read
        self._portions = Portions(producer.capacity)
        self._most = self._portions.most
        self._unread = 0

    async def write(self, events: bytes) -> bool:
        """Write whole events; return False if the stream is over."""
        most, size = self._most, len(events)
        if self._unread + size <= most:
            # So it is with nearly every event: it is written in as few steps as can be.
            await self._producer.drain()
            self._unread += size
            return self._producer.write(events)
        if size <= most:
            # A generator for a single portion would cost more.
            return await self._write_portion(events)
        for portion in self._portions.of(events, self._incoming.framing):
            if not await self._write_portion(portion):
                return False
        return True

    async def _write_portion(self, portion: bytes) -> bool:
        # Small events are counted together: the loop has no turn between events that
        # have already arrived.
        if self._unread + len(portion) > self._most:
            await self._let_readers_read(max(len(portion), self._most))
            self._unread = 0
        await self._producer.drain()
        if not self._producer.write(portion):
            return False
        self._unread += len(portion)
        return True

    async def _let_readers_read(self, size: int) -> None:
        """Let the readers of this event loop have what has been written.

        The readers get one turn, and then the writer waits only for the reader of the
        response. The ring overtakes another reader that did not take the bytes in its
        turn.

        Args:
            size: bytes that are written next, at most.
        """
        self._let_read()
        await asyncio.sleep(0)
        await self._pace.room(self._producer, size + self._portions.last_event)
