"""The follow hub for threads, or greenlets: WSGI workers and plain Python.

The doorbell's thread drives the hub, so that following threads only sleep and read.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from shmstream.memory.segment import Segment
from shmstream.wakeups.doorbell_thread import NET_S
from shmstream.wakeups.hub_pace import TICK_S, FollowHub
from shmstream.wakeups.hub_watch import Watch
from shmstream.wakeups.shared_board import Board


class _LockWaiter:
    """Holds a lock until ``wake`` releases it; this is cheaper than an ``Event``."""

    __slots__ = ('lock',)

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.lock.acquire()

    def wake(self) -> None:
        self.lock.release()


class ThreadHub:
    """Drives a ``FollowHub`` under a lock; thread-safe.

    Args:
        board: the process's board.
        ring: rings the process's own doorbell.
        by_pipe: whether others ring that doorbell by the pipe.
    """

    def __init__(
        self, board: Board, ring: Callable[[], None], by_pipe: bool = False
    ) -> None:
        self._hub = FollowHub(board, ring)
        if by_pipe:
            board.ring_by_pipe(self._hub)
        # Reentrant: while the lock is held, a garbage collection may close a follower.
        self._lock = threading.RLock()

    def look(self, look_at_all: bool = False, everybody: bool = False) -> float:
        """Look, in the doorbell's thread; return the seconds until the next look.

        Args:
            look_at_all: look also at watches that are not marked.
            everybody: wake all followers, whatever has happened to their streams.
        """
        with self._lock:
            if everybody:
                self._hub.wake_all()
            if look_at_all:
                self._hub.look_at_all()
            if self._hub.awake:
                self._hub.tick()
            # The look comes after the tick, because in the tick the hub may have gone
            # to sleep and collected new marks.
            self._hub.look(time.monotonic())
            if self._hub.pending:
                # These marks were collected on the way to a nap: no ring comes for
                # them.
                return 0.0
            return TICK_S if self._hub.awake else NET_S

    def tell(self) -> None:
        """As ``FollowHub.tell``."""
        self._hub.tell()

    def join(self, segment: Segment) -> Watch:
        """As ``FollowHub.join``."""
        with self._lock:
            return self._hub.join(segment)

    def leave(self, watch: Watch) -> None:
        """As ``FollowHub.leave``."""
        with self._lock:
            self._hub.leave(watch)

    def leave_later(self, watch: Watch) -> None:
        """As ``leave``."""
        self.leave(watch)

    def wait(self, watch: Watch, seen: bytes, wait_s: float | None = None) -> None:
        """Return once the segment's header may differ from ``seen``.

        Returns after ``NET_S`` at the latest: a thread cannot be cancelled, so it has
        to look regularly whether it should go on.

        Args:
            watch: the watch of the segment.
            seen: the header's snapshot, taken *before* the caller found nothing to
                read.
            wait_s: return after this many seconds in any case; None: ``NET_S``.
        """
        waiter = _LockWaiter()
        try:
            with self._lock:
                self._hub.wait(watch, seen, waiter)
            waiter.lock.acquire(timeout=NET_S if wait_s is None else min(wait_s, NET_S))
        finally:
            with self._lock:
                self._hub.forget(watch, waiter)
