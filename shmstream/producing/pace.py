"""The pace of a source: it waits for the reader of the response that began its stream.

The service does the same for the client of a POST (``http.own_client``). All other
readers are overtaken by the ring, and are told so. While the next bytes would overtake
this one reader, the source waits::

    the response          is waited for
    --------------------  --------------------------------------------------------------
    does not follow yet   a second, unless its ``Started`` has been dropped
    follows               until it has taken nothing for 30 s
    is closed or dropped  no more
"""

from __future__ import annotations

import asyncio
import logging
import time
import weakref
from collections.abc import Callable

from shmstream.follower import Follower
from shmstream.producer import Producer

log = logging.getLogger('shmstream')

PATIENCE_S = 30.0
"""Seconds for which a reader that takes nothing holds up the source."""

_HANDOVER_S = 1.0
"""Seconds between ``start`` and ``Started.follow`` for which a source waits: a fast
source in a thread would fill its ring in that time."""

_LOOK_S = 0.02
"""Seconds between two looks at such a reader. Looks are counted, not seconds: if this
process is suspended, the reader loses none of its time."""


class Pace:
    """How far the first follower of a ``Started`` has read.

    Args:
        producer: the producer of the stream.
        patience_s: seconds; see ``PATIENCE_S``.
    """

    def __init__(self, producer: Producer, patience_s: float = PATIENCE_S) -> None:
        self._producer = producer
        self._patience_s = _HANDOVER_S
        self._patience_of_reader_s = patience_s
        # The response holds what is referred to here: first the ``Started``, then the
        # follower. Weakly: a response that is dropped must not hold up the source.
        self._held: Callable[[], object] = lambda: self
        self._taken = False
        self._idle = self._offset = 0

    def expects(self, started: object) -> None:
        """Note the ``Started`` whose follower is expected."""
        self._held = weakref.ref(started)

    def reads(self, follower: Follower) -> None:
        """Note a follower; only the first one counts."""
        if not self._taken:
            self._taken = True
            self._patience_s = self._patience_of_reader_s
            self._idle = 0
            self._held = weakref.ref(follower)

    def _has_to_wait(self, size: int) -> bool:
        """Whether the next ``size`` bytes would overtake the reader."""
        held, producer = self._held(), self._producer
        gone = held is None or (isinstance(held, Follower) and held.over)
        if gone or producer.state.final:
            self._held = _nobody
            return False
        offset = held.offset if isinstance(held, Follower) else 0
        total = producer.total_bytes
        if offset >= min(max(total + size - producer.capacity, 0), total):
            self._idle = 0
            return False
        if offset != self._offset:
            self._offset, self._idle = offset, 0
        self._idle += 1
        if self._idle * _LOOK_S <= self._patience_s:
            return True
        log.info('stream %s goes on without its own reader', producer.generation)
        self._held = _nobody
        return False

    async def room(self, size: int) -> None:
        """Wait until the next ``size`` bytes do not overtake the reader."""
        while self._has_to_wait(size):  # noqa: ASYNC110 - a follower has no event
            await asyncio.sleep(_LOOK_S)

    def wait_for_room(self, size: int) -> None:
        """As ``room``, in a thread. Returns early if the stream is ended."""
        while self._has_to_wait(size):
            time.sleep(_LOOK_S)


def _nobody() -> None:
    """Nobody is waited for."""
