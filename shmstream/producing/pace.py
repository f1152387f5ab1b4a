"""The pace of a source: it waits for the reader of the response that began its stream.

Who begins a stream has not asked for a ring. Without one, the connection slows down a
source that is faster than the client. With one, the ring would overtake the client, and
the response would be cut. So no more is taken from the source while the next bytes
would overtake this one reader::

    the response                     is waited for
    -------------------------------  ---------------------------------------------------
    does not follow yet              a second, unless its ``Started`` has been dropped
    follows, or is about to follow   until it has taken nothing for 30 s
    is closed or dropped, or has     no more
    left

All other readers are overtaken by the ring, and are told so.
"""

from __future__ import annotations

import asyncio
import logging
import time
import weakref
from collections.abc import Callable
from typing import Protocol

from shmstream.follower import Follower
from shmstream.ring.state import State

log = logging.getLogger('shmstream')

PATIENCE_S = 30.0
"""Seconds for which a reader that takes nothing holds up the source."""

_HANDOVER_S = 1.0
"""Seconds between ``start`` and ``Started.follow`` for which a source waits: a fast
source in a thread would fill its ring in that time."""

_LOOK_S = 0.02
"""Seconds between two looks at such a reader. Looks are counted, not seconds: if the
client or this process is suspended, the reader loses none of its time."""

_TOLD_LOOK_S = 0.2
"""Seconds between two looks at a reader whose response calls ``Pace.took``."""


class Ring(Protocol):
    """The ring of a stream, as its producer knows it."""

    @property
    def capacity(self) -> int:
        """The bytes that the ring holds."""

    @property
    def total_bytes(self) -> int:
        """The bytes that have entered the ring so far."""

    @property
    def state(self) -> State:
        """The state of the stream."""


class Response(Protocol):
    """A response whose client may take less than is sent at once."""

    def mark(self) -> object:
        """Return an object that differs whenever the client has taken bytes."""


class Pace:
    """How far the reader of a response has read.

    ``took`` and ``left`` are called on the event loop that ``room`` waits on.

    Args:
        patience_s: seconds; see ``PATIENCE_S``.
    """

    def __init__(self, patience_s: float = PATIENCE_S) -> None:
        self._patience_s = self._patience_of_reader_s = patience_s
        # The response holds what is referred to here: first the ``Started``, then the
        # follower. Weakly: a response that is dropped must not hold up the source.
        self._held: Callable[[], object] = _somebody
        self._follower: Callable[[], Follower | None] = _nobody
        self._response: Response | None = None
        self._moved = asyncio.Event()
        self._look_s = _LOOK_S
        self._idle = 0
        self._place: object = None

    def expects(self, started: object) -> None:
        """Note the ``Started`` whose follower is expected."""
        if self._follower is _nobody:
            self._patience_s = _HANDOVER_S
            self._held = weakref.ref(started)

    def reads(self, follower: Follower, response: Response | None = None) -> None:
        """Note a follower; only the first one counts.

        Args:
            follower: reads the stream for the response.
            response: the response, if it calls ``took`` and ``left``.
        """
        if self._follower is _nobody:
            self._patience_s = self._patience_of_reader_s
            self._idle = 0
            self._held = self._follower = weakref.ref(follower)
            if response is not None:
                self._response = response
                self._look_s = _TOLD_LOOK_S

    def took(self) -> None:
        """Note that the client has taken what was sent."""
        self._moved.set()

    def left(self) -> None:
        """Note that nobody reads any more, or ever will. Idempotent."""
        self._held, self._response = _nobody, None
        self._moved.set()

    def _has_to_wait(self, ring: Ring, size: int) -> bool:
        """Whether the next ``size`` bytes would overtake the reader."""
        held = self._held()
        closed = isinstance(held, Follower) and held.over
        if held is None or closed or ring.state.final:
            self.left()
            return False
        follower, total = self._follower(), ring.total_bytes
        offset = 0 if follower is None else follower.offset
        if offset >= min(max(total + size - ring.capacity, 0), total):
            self._idle = 0
            return False
        place = (offset, None if self._response is None else self._response.mark())
        if place != self._place:
            self._place, self._idle = place, 0
        if self._idle * self._look_s < self._patience_s:
            return True
        log.info('a source goes on without the reader of its response')
        self.left()
        return False

    async def room(self, ring: Ring, size: int) -> None:
        """Wait until the next bytes do not overtake the reader, or it is gone.

        Args:
            ring: the ring of the stream. Its bytes must have been delivered as far as
                the client's connection takes them at once.
            size: how many bytes come next. A size above the ring's capacity counts as
                the capacity.
        """
        while self._has_to_wait(ring, size):
            self._moved.clear()
            try:
                async with asyncio.timeout(self._look_s):
                    await self._moved.wait()
            except TimeoutError:
                # Only this timeout raises the error: nothing else is awaited.
                self._idle += 1

    def wait_for_room(self, ring: Ring, size: int) -> None:
        """As ``room``, in a thread. Returns early if the stream is ended."""
        while self._has_to_wait(ring, size):
            time.sleep(self._look_s)
            self._idle += 1


def _somebody() -> object:
    """Somebody is waited for who cannot be dropped."""
    return _somebody


def _nobody() -> None:
    """Nobody is waited for."""
