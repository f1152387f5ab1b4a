"""The follow hub for threads, or greenlets: WSGI workers and plain Python.

The doorbell drives it, so that threads that follow only ever sleep.
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
    """A lock that is held until the wake: an ``Event`` makes one for each wait."""

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
        ring: rings this process's own doorbell.
        by_pipe: whether others ring that by the pipe.
    """

    def __init__(
        self, board: Board, ring: Callable[[], None], by_pipe: bool = False
    ) -> None:
        self._hub = FollowHub(board, ring)
        if by_pipe:
            board.ring_by_pipe(self._hub)
        # Reentrant, as the board's.
        self._lock = threading.RLock()

    def look(self, look_at_all: bool = False, everybody: bool = False) -> float:
        """Look around, in the doorbell thread; return the seconds until the next."""
        with self._lock:
            if everybody:
                self._hub.wake_all()
            if look_at_all:
                self._hub.look_at_all()
            if self._hub.awake:
                self._hub.tick()
            # After the tick: the hub may have gone to sleep, and been marked then.
            self._hub.look(time.monotonic())
            if self._hub.pending:
                # Marked just before a nap: nobody rings for it.
                return 0.0
            return TICK_S if self._hub.awake else NET_S

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
        """Return once the segment's header is no longer ``seen``, or it may be so.

        Never later than ``NET_S``: a thread cannot be cancelled, so it looks for itself
        whether its caller wants it to go on.
        """
        waiter = _LockWaiter()
        try:
            with self._lock:
                self._hub.wait(watch, seen, waiter)
            waiter.lock.acquire(timeout=NET_S if wait_s is None else min(wait_s, NET_S))
        finally:
            with self._lock:
                self._hub.forget(watch, waiter)
