"""One segment as one hub sees it: its waiters and its takers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from shmstream.errors import OffsetLost
from shmstream.memory.segment import Segment
from shmstream.metrics.catalogue import BYTES, DELIVERIES
from shmstream.metrics.counts import Counts
from shmstream.ring.layout import WORD

MAX_READ = 256 * 1024
"""Bytes that one read copies at the most: small against a ring, large against a system
call."""

_SHARED_READ = 64 * 1024
"""Bytes of the largest read that followers at one offset share."""

_MAX_HAND_OVER = 64 * 1024
"""Bytes that are handed to all takers in one turn of the loop, at the most. If there
are more, each taker is woken, and reads them in its own turn."""

_BYTES_OUT = BYTES.of('out')
_DELIVERIES = DELIVERIES.at

_REST = slice(16, None)
"""The bytes of a snapshot after head and dropped prefix."""


class Waiter(Protocol):
    """Something that is woken once, when a segment has changed."""

    def wake(self) -> None:
        """Called once, in the thread that drives the hub."""


class Taker(Protocol):
    """Something that is handed the bytes of a segment as they come."""

    def take(self, at: int, data: bytes) -> None:
        """Take new bytes, at least one, which begin at ``at``; in the hub's thread."""

    def wake(self) -> None:
        """Look: something else has changed, or too many bytes have come."""


class Watch:
    """One segment as one hub sees it, shared by the hub's followers of the segment.

    Attributes:
        segment: the segment.
        reader: the reader of its ring.
        followers: how many followers share the watch.
        last: the snapshot of the header at the last look.
        marked: whether it is marked, and has not been looked at since.
        asked_at: when a producer of this process last made the hub look at once;
            seconds on the monotonic clock.
        waiters: woken once at the next change.
        takers: handed the bytes of every change.
        deliveries: pieces that followers have got by this watch.
        delivered: the bytes of these pieces.
    """

    __slots__ = (
        '_marked',
        '_shared',
        '_told',
        '_told_bytes',
        'asked_at',
        'delivered',
        'deliveries',
        'followers',
        'last',
        'marked',
        'reader',
        'segment',
        'takers',
        'waiters',
    )

    def __init__(self, segment: Segment, marked: Callable[[Watch, bool], bool]) -> None:
        self.segment = segment
        self.reader = segment.reader
        self.waiters: dict[Waiter, None] = {}
        self.takers: dict[Taker, None] = {}
        self.last = b''
        self.followers = 0
        self._marked = marked
        self.marked = False
        self.asked_at = 0.0
        self._shared: tuple[int, bytes] = (-1, b'')
        self.deliveries = self.delivered = self._told = self._told_bytes = 0

    def mark(self, here: bool = False) -> bool:
        """Note that the segment may have changed; as ``Placed.mark``."""
        return self._marked(self, here)

    def tell(self, counts: Counts) -> None:
        """Count what has been delivered since the last call; from any thread."""
        # Nothing is called between these lines, so no other thread comes in between.
        deliveries, delivered = self.deliveries, self.delivered
        more, more_bytes = deliveries - self._told, delivered - self._told_bytes
        self._told, self._told_bytes = deliveries, delivered
        counts.words[_DELIVERIES] += more
        counts.words[_BYTES_OUT] += more_bytes

    def read(self, offset: int) -> bytes:
        """Read as ``RingReader.read`` does; followers at one offset share the bytes.

        May return fewer bytes than there are, but returns none only if there are none.
        """
        at, data = self._shared
        if at == offset:
            return data
        data = self.reader.read(offset, MAX_READ)
        if self.followers > 1 and 0 < len(data) <= _SHARED_READ:
            self._shared = (offset, data)
        return data

    def changed(self) -> bool:
        """Look; if the header has changed, wake the waiters and serve the takers.

        Returns:
            Whether the header has changed since the last look.
        """
        now = self.reader.snapshot()
        before = self.last
        if now == before:
            return False
        self.last = now
        self._shared = (-1, b'')
        if self.waiters:
            self.wake_waiters()
        if self.takers:
            if now[_REST] == before[_REST]:
                self._hand_over(_head_of(before), _head_of(now))
            else:
                self.wake_takers()
        return True

    def _hand_over(self, at: int, head: int) -> None:
        if head == at:
            # Only the dropped prefix has moved, and the bytes are not published yet. An
            # empty chunk must not be handed over, because a taker would think that it
            # is the end.
            return
        if head - at > _MAX_HAND_OVER:
            self.wake_takers()
            return
        try:
            data = self.reader.read(at, head - at)
        except (OffsetLost, MemoryError):
            # Each taker reads for itself, and reports its own error.
            self.wake_takers()
            return
        # ``takers`` is copied, because a taker may leave it while it takes bytes.
        takers = list(self.takers)
        number = len(takers)
        handed = number * len(data)
        # Counted here, once for all of them, because nothing is done more often. A
        # taker that does not take takes this back.
        self.deliveries += number
        self.delivered += handed
        for taker in takers:
            taker.take(at, data)

    def not_taken(self, size: int) -> None:
        """Take back a piece that was handed over to a taker, which has not taken it."""
        self.deliveries -= 1
        self.delivered -= size

    def wake_waiters(self) -> None:
        """Wake all waiters."""
        waiters, self.waiters = self.waiters, {}
        for waiter in waiters:
            waiter.wake()

    def wake_takers(self) -> None:
        """Make all takers look."""
        for taker in list(self.takers):
            taker.wake()


def _head_of(snapshot: bytes) -> int:
    return int.from_bytes(snapshot[:WORD], 'little')
