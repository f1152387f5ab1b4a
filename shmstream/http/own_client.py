"""The client of a POST: the one reader that its source waits for.

A client that POSTs has not asked for a ring. Without us a model that is faster than its
client is slowed down by the client's connection; a ring that overtakes it would cut it
off. So a source is not read while its next bytes would overtake the POST's own client::

    expected --- begins to read ---> reads --- leaves, or has all ---> gone
       |                               |                                ^
       '--- will never read -----------'--- takes nothing for 30 s -----'

Once it is gone nobody is waited for. Other readers never are: they are overtaken, and
told so (I3).
"""

from __future__ import annotations

import asyncio
from typing import Protocol

from shmstream.asgi.stalled import Reader
from shmstream.follower import Follower

PATIENCE_S = 30.0
"""How long a client that takes nothing holds up its source."""

_LOOK_S = 0.2
"""How often it is looked at while it does. Looks are counted, not seconds: whoever was
suspended meanwhile, the client or we, has all of them left."""


class Ring(Protocol):
    """The ring of a stream, as its producer knows it."""

    @property
    def capacity(self) -> int:
        """The bytes that it holds."""

    @property
    def total_bytes(self) -> int:
        """The bytes that have entered it so far."""


class OwnClient:
    """How far the client of one POST is.

    Args:
        patience_s: see ``PATIENCE_S``.
    """

    def __init__(self, patience_s: float = PATIENCE_S) -> None:
        self._looks = max(1, round(patience_s / _LOOK_S))
        self._follower: Follower | None = None
        self._reader: Reader | None = None
        self._gone = False
        self._moved = asyncio.Event()

    def reads(self, follower: Follower, reader: Reader) -> None:
        """It is about to read.

        Args:
            follower: by which it gets the stream.
            reader: its response.
        """
        self._follower, self._reader = follower, reader

    def took(self) -> None:
        """It has taken what it was sent."""
        self._moved.set()

    def left(self) -> None:
        """It reads no more, or never will. Idempotent."""
        self._gone = True
        self._follower = self._reader = None
        self._moved.set()

    async def room(self, ring: Ring, size: int) -> None:
        """Wait until so many bytes more overtake it no longer, or it is gone.

        Args:
            ring: the stream's; what is in it has been delivered, as far as that is
                possible without waiting for anybody.
            size: bytes; what is more than the ring is as much as the ring.
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
                # By nobody but this: nothing else is awaited.
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
