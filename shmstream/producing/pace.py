"""The pace of a source: it waits for the reader of the response that began its stream.

The service does the same for the client of a POST (``http.own_client``). All other
readers are overtaken by the ring, and are told so::

    no ``Started.follow`` yet ------> the source waits for nobody
    a follower that goes on --------> while the next bytes would overtake it, the source
                                      waits
    ... that takes nothing for 30 s   the source waits for nobody any more
    ... that is closed or dropped --> the same
"""

from __future__ import annotations

import asyncio
import logging
import time
import weakref

from shmstream.follower import Follower
from shmstream.producer import Producer

log = logging.getLogger('shmstream')

PATIENCE_S = 30.0
"""Seconds for which a reader that takes nothing holds up the source."""

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
        self._looks = max(1, round(patience_s / _LOOK_S))
        # Weak: a response that is dropped must not hold up the source.
        self._follower: weakref.ref[Follower] | None = None
        self._taken = False

    def reads(self, follower: Follower) -> None:
        """Note a follower; only the first one counts."""
        if not self._taken:
            self._taken = True
            self._follower = weakref.ref(follower)

    def _left_behind(self, size: int) -> int:
        """Return how many bytes the follower would lose by the next ``size`` bytes."""
        follower = None if self._follower is None else self._follower()
        if follower is None or follower.over or self._producer.state.final:
            self._follower = None
            return 0
        total = self._producer.total_bytes
        least = min(max(total + size - self._producer.capacity, 0), total)
        return max(least - follower.offset, 0)

    async def room(self, size: int) -> None:
        """Wait until the next ``size`` bytes do not overtake the follower."""
        if behind := self._left_behind(size):
            looks = _Looks(self._looks, behind)
            while behind and self._goes_on(looks, behind):
                await asyncio.sleep(_LOOK_S)
                behind = self._left_behind(size)

    def wait_for_room(self, size: int) -> None:
        """As ``room``, in a thread. Returns early if the stream is ended."""
        if behind := self._left_behind(size):
            looks = _Looks(self._looks, behind)
            while behind and self._goes_on(looks, behind):
                time.sleep(_LOOK_S)
                behind = self._left_behind(size)

    def _goes_on(self, looks: _Looks, behind: int) -> bool:
        if looks.patient(behind):
            return True
        generation = self._producer.generation
        log.info('stream %s goes on without its own reader', generation)
        self._follower = None
        return False


class _Looks:
    """Counts the looks at a reader that takes nothing."""

    def __init__(self, most: int, behind: int) -> None:
        self._most = most
        self._behind = behind
        self._idle = 0

    def patient(self, behind: int) -> bool:
        if behind != self._behind:
            self._behind, self._idle = behind, 0
        self._idle += 1
        return self._idle <= self._most
