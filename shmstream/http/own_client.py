"""The client of a POST: the only reader that the source of an answer waits for.

A client that sends a POST has not asked for a ring. Without the service, the client's
connection slows down a model that is faster than the client. With the service, the ring
would overtake the client, and the client's response would be cut. So no more is read
from the source while the next bytes would overtake the client of the POST::

    expected --- begins to read ---> reads --- leaves, or has all ---> gone
       |                               |                                ^
       '--- will never read -----------'--- takes nothing for 30 s -----'

When this client is gone, the source waits for no reader. It never waits for the other
readers: the ring overtakes them, and they are told so.
"""

from __future__ import annotations

import asyncio
from typing import Protocol

from shmstream.asgi.stalled import Reader
from shmstream.follower import Follower

PATIENCE_S = 30.0
"""Seconds for which a client that takes nothing holds up the source."""

_LOOK_S = 0.2
"""Seconds between two looks at such a client. Looks are counted, not seconds: if the
client or this process is suspended, the client loses none of its time."""


class Ring(Protocol):
    """The ring of a stream, as its producer knows it."""

    @property
    def capacity(self) -> int:
        """The bytes that the ring holds."""

    @property
    def total_bytes(self) -> int:
        """The bytes that have entered the ring so far."""


class OwnClient:
    """How far the client of one POST has read.

    Args:
        patience_s: seconds; see ``PATIENCE_S``.
    """

    def __init__(self, patience_s: float = PATIENCE_S) -> None:
        self._looks = max(1, round(patience_s / _LOOK_S))
        self._follower: Follower | None = None
        self._reader: Reader | None = None
        self._gone = False
        self._moved = asyncio.Event()

    def reads(self, follower: Follower, reader: Reader) -> None:
        """Note that the client begins to read.

        Args:
            follower: reads the stream for the client.
            reader: the response to the client.
        """
        self._follower, self._reader = follower, reader

    def took(self) -> None:
        """Note that the client has taken what was sent."""
        self._moved.set()

    def left(self) -> None:
        """Note that the client reads no more, or never will. Idempotent."""
        self._gone = True
        self._follower = self._reader = None
        self._moved.set()

    async def room(self, ring: Ring, size: int) -> None:
        """Wait until the next bytes do not overtake the client, or the client is gone.

        Args:
            ring: the ring of the stream. Its bytes must have been delivered as far as
                the client's connection takes them at once.
            size: how many bytes come next. A size above the ring's capacity counts as
                the capacity.
        """
        least = max(ring.total_bytes + size - ring.capacity, 0)
        least = min(least, ring.total_bytes)
        idle, mark = 0, self._mark()
        while not self._gone and self._offset < least:
            self._moved.clear()
            try:
                async with asyncio.timeout(_LOOK_S):
                    await self._moved.wait()
            except TimeoutError:
                # Only this timeout raises the error: nothing else is awaited.
                idle += 1
            if (now := self._mark()) != mark:
                idle, mark = 0, now
            if idle >= self._looks:
                self.left()

    @property
    def _offset(self) -> int:
        return 0 if self._follower is None else self._follower.offset

    def _mark(self) -> object:
        return self._offset, None if self._reader is None else self._reader.mark()
