"""Being rung: the one thread of a process that waits on its semaphore."""

from __future__ import annotations

import contextlib
import errno
import logging
import threading
from collections.abc import Callable

import posix_ipc

NET_S = 0.2
"""The longest that anything sleeps without looking: llama.cpp's own wake interval."""

_MAX_DRAIN = 100_000

log = logging.getLogger('shmstream')


class Doorbell:
    """Waits on a semaphore in a thread of its own, once started; calls ``on_wake``.

    Args:
        name: the semaphore's name.
        on_wake: called with True when rung and False when the wait ran out; returns
            how many seconds to wait next, at most ``NET_S``.
    """

    by_pipe = False
    """Whether others are to ring it by the process's pipe, not by the semaphore."""

    def __init__(self, name: str, on_wake: Callable[[bool], float]) -> None:
        self._semaphore = posix_ipc.Semaphore(name)
        self._on_wake = on_wake
        self._stopping = False
        self._thread = threading.Thread(
            target=self._run, name='shmstream-doorbell', daemon=True
        )

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def _run(self) -> None:
        wait_s = NET_S
        while not self._stopping:
            rung = self._acquire(wait_s)
            # Before anything is looked at: a post that is not answered by a look is
            # lost. By its value: an acquire in vain raises, which costs a lot.
            for _ in range(_MAX_DRAIN):
                if not rung or not self._semaphore.value or not self._acquire(0):
                    break
            try:
                wait_s = min(self._on_wake(rung), NET_S)
            except Exception:
                # The thread must outlive any one bad wake: every follower of the
                # process depends on it.
                log.exception('doorbell: wake-up failed')
                wait_s = NET_S

    def _acquire(self, wait_s: float) -> bool:
        try:
            self._semaphore.acquire(wait_s)
        except (posix_ipc.BusyError, posix_ipc.SignalError):
            return False
        return True

    @property
    def current(self) -> bool:
        """Whether the calling thread is the one that waits on it."""
        return threading.get_ident() == self._thread.ident

    def ring(self) -> None:
        """Ring it from within the process; does nothing once it has been stopped."""
        with contextlib.suppress(posix_ipc.ExistentialError):
            release(self._semaphore)

    def stop(self) -> None:
        """Stop and join the thread, then close the semaphore; in that order.

        Closing a semaphore that a thread waits on crashes the process.
        """
        self._stopping = True
        if self.current:
            return
        release(self._semaphore)
        self._thread.join()
        self._semaphore.close()


def release(semaphore: posix_ipc.Semaphore) -> None:
    """Post it; one that cannot count any further is loud enough."""
    try:
        semaphore.release()
    except OSError as ex:
        # At SEM_VALUE_MAX it has been ringing for a while.
        if ex.errno != errno.EOVERFLOW:
            raise
