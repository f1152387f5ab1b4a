"""One segment as one hub sees it: who waits for it, and who takes its bytes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from shmstream.errors import OffsetLost
from shmstream.memory.segment import Segment
from shmstream.ring.layout import WORD

MAX_READ = 256 * 1024
"""Bytes that one read copies: small against a ring, large against a system call."""

_SHARED_READ = 64 * 1024

_MAX_HAND_OVER = 64 * 1024
"""Bytes that are handed to all takers in one turn of the loop; more, and each takes its
own turn."""

_REST = slice(16, None)
"""Of a snapshot: what is neither head nor dropped prefix."""


class Waiter(Protocol):
    """Whatever can be woken once."""

    def wake(self) -> None:
        """Called once, in the thread that drives the hub."""


class Taker(Protocol):
    """Whatever takes bytes as they come, for as long as it is among the takers."""

    def take(self, at: int, data: bytes) -> None:
        """These bytes, one at least, have come at this offset. In the hub's thread."""

    def wake(self) -> None:
        """Something else has changed, or there is too much to be handed over."""


class Watch:
    """One segment as one hub sees it, shared by all of the hub's followers of it."""

    __slots__ = (
        '_marked',
        '_shared',
        'asked_at',
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

    def mark(self, here: bool = False) -> bool:
        """Mark it: its segment may have changed; from any thread."""
        return self._marked(self, here)

    def read(self, offset: int) -> bytes:
        """Read as ``RingReader.read`` does; followers at one offset share the bytes.

        May return less than there is: then the header has changed, or is about to.
        """
        at, data = self._shared
        if at == offset:
            return data
        data = self.reader.read(offset, MAX_READ)
        if self.followers > 1 and 0 < len(data) <= _SHARED_READ:
            self._shared = (offset, data)
        return data

    def changed(self) -> bool:
        """Look; if the header has changed, wake who waits and push to who takes."""
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
            # Only the dropped prefix has moved: the bytes are still on their way. An
            # empty chunk would be taken for the end.
            return
        if head - at > _MAX_HAND_OVER:
            self.wake_takers()
            return
        try:
            data = self.reader.read(at, head - at)
        except (OffsetLost, MemoryError):
            # Each finds out for itself, and says so.
            self.wake_takers()
            return
        # A copy: who takes may leave at that.
        for taker in list(self.takers):
            taker.take(at, data)

    def wake_waiters(self) -> None:
        """Wake whoever waits."""
        waiters, self.waiters = self.waiters, {}
        for waiter in waiters:
            waiter.wake()

    def wake_takers(self) -> None:
        """Have whoever takes bytes look around."""
        for taker in list(self.takers):
            taker.wake()


def _head_of(snapshot: bytes) -> int:
    return int.from_bytes(snapshot[:WORD], 'little')
