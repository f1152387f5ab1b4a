"""The follow hub: which of this process's followers wait for which segment.

Sans-I/O: it never sleeps and never calls a clock. ``loop`` and ``threads`` drive it.
"""

from __future__ import annotations

import threading
from typing import Protocol

from shmstream.memory.segment import Segment
from shmstream.ring.fence import make_fence
from shmstream.ring.layout import W_ARMED
from shmstream.ring.ring import RingReader

TICK_S = 0.001
"""How often a busy hub looks: bytes coalesce, and nobody pays for a semaphore."""

QUIET_TICKS = 3
"""Looks that bring nothing before a watch goes back to sleep."""

MAX_READ = 256 * 1024
"""Bytes that one read copies: small against a ring, large against a system call."""

_SHARED_READ = 64 * 1024


_arming = threading.Lock()
"""All hubs of a process share its armed words."""


class Waiter(Protocol):
    """Whatever can be woken once."""

    def wake(self) -> None:
        """Called once, in the thread that drives the hub."""


class Watch:
    """One segment as one hub sees it, shared by all of the hub's followers of it."""

    __slots__ = (
        '_shared',
        'followers',
        'last',
        'quiet',
        'reader',
        'segment',
        'waiters',
    )

    def __init__(self, segment: Segment) -> None:
        self.segment = segment
        self.reader = RingReader(segment.view)
        self.waiters: dict[Waiter, None] = {}
        self.last = self.reader.snapshot()
        self.quiet = 0
        self.followers = 0
        self._shared: tuple[int, int, bytes] = (-1, -1, b'')

    def read(self, offset: int) -> bytes:
        """Read as ``RingReader.read`` does; followers at one offset share the bytes."""
        at, head, data = self._shared
        if at == offset and head == self.reader.total_bytes:
            return data
        head = self.reader.total_bytes
        data = self.reader.read(offset, min(MAX_READ, max(head - offset, 0)))
        if 0 < len(data) <= _SHARED_READ:
            self._shared = (offset, head, data)
        return data

    def forget(self) -> None:
        """Drop the shared bytes: nobody comes for them any more."""
        self._shared = (-1, -1, b'')


class FollowHub:
    """Watches, and which of them are polled and which are armed.

    Args:
        slot: the worker's slot, which says which armed word is ours.
    """

    def __init__(self, slot: int) -> None:
        self._word = W_ARMED + slot
        self._fence = make_fence()
        self._watches: dict[tuple[int, int], Watch] = {}
        self._busy: dict[Watch, None] = {}
        self._armed: dict[Watch, None] = {}

    def move(self, slot: int) -> None:
        """Our slot is another one now: what was armed is, in a word nobody reads."""
        self._word = W_ARMED + slot
        for watch in list(self._armed):
            self._moved(watch, watch.reader.snapshot())

    @property
    def busy(self) -> bool:
        """Whether ``tick`` has to be called."""
        return bool(self._busy)

    def join(self, segment: Segment) -> Watch:
        """Return the watch of this segment for one more follower."""
        watch = self._watches.get(segment.identity)
        if watch is None:
            watch = self._watches[segment.identity] = Watch(segment)
        watch.followers += 1
        return watch

    def leave(self, watch: Watch) -> None:
        """One follower less; the last one takes the watch with it."""
        watch.followers -= 1
        if not watch.followers:
            self._watches.pop(watch.segment.identity, None)
            self._busy.pop(watch, None)
            self._armed.pop(watch, None)

    def wait(self, watch: Watch, seen: bytes, waiter: Waiter) -> None:
        """Wake ``waiter`` once the segment's header differs from ``seen``.

        ``seen`` is the snapshot that the caller took *before* it found nothing to read.
        The waiter may be woken before this returns.
        """
        now = watch.reader.snapshot()
        if now != watch.last:
            self._moved(watch, now)
        if now != seen:
            waiter.wake()
            return
        watch.waiters[waiter] = None
        if watch not in self._busy and watch not in self._armed:
            self._arm(watch)

    def forget(self, watch: Watch, waiter: Waiter) -> None:
        """The waiter no longer waits."""
        watch.waiters.pop(waiter, None)

    def _arm(self, watch: Watch) -> None:
        words = watch.segment.words
        seen = int.from_bytes(watch.last[:8], 'little') + 1
        # Never back: another hub of the process may sleep on more than we have seen.
        # If it does, the check below finds what we have not seen.
        with _arming:
            words[self._word] = max(words[self._word], seen)
        self._fence()
        now = watch.reader.snapshot()
        if now != watch.last:
            self._moved(watch, now)
        else:
            self._armed[watch] = None

    def _moved(self, watch: Watch, now: bytes) -> None:
        # Whatever was armed is used up, or about to be.
        self._armed.pop(watch, None)
        watch.quiet = 0
        self._busy[watch] = None
        self._fire(watch, now)

    def look(self) -> None:
        """Look at everything that sleeps: after a ring, and every ``NET_S``."""
        for watch in list(self._armed):
            now = watch.reader.snapshot()
            if now != watch.last:
                self._moved(watch, now)

    def tick(self) -> None:
        """Look at everything that is busy; what stays quiet is armed again."""
        for watch in list(self._busy):
            now = watch.reader.snapshot()
            if now != watch.last:
                watch.quiet = 0
                self._fire(watch, now)
                continue
            watch.quiet += 1
            if watch.quiet >= QUIET_TICKS:
                del self._busy[watch]
                watch.forget()
                if watch.waiters:
                    self._arm(watch)

    def wake_all(self) -> None:
        """Wake everybody whatever has happened: they have to look around."""
        for watch in list(self._watches.values()):
            self._fire(watch, watch.last)

    @staticmethod
    def _fire(watch: Watch, now: bytes) -> None:
        watch.last = now
        waiters, watch.waiters = watch.waiters, {}
        for waiter in waiters:
            waiter.wake()
