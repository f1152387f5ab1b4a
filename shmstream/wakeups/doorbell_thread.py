"""The one thread of a process that waits on its semaphore."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable
from pathlib import Path

import posix_ipc

from shmstream.guarded_chores import GuardedChores
from shmstream.wakeups.semaphore import SteadyWait, post
from shmstream.wakeups.stand_in import PipePosts, open_posts

NET_S = 0.2
"""The safety net: nothing sleeps for longer than this without looking. llama.cpp wakes
at this interval too."""

_MAX_DRAIN = 100_000


class Doorbell:
    """Waits on a semaphore in a thread of its own, once started; calls ``on_wake``.

    Only ``stop`` ends the thread, because every follower of the process depends on it.
    If it cannot wait on the semaphore, it calls ``on_wake`` at the latest every
    ``NET_S``.

    Args:
        name: the semaphore's name.
        on_wake: called with True after a ring and with False after a wait without one;
            returns how many seconds to wait next, at most ``NET_S``.
        stand_in: the path of the pipe to wait on if the semaphore does not exist.
    """

    by_pipe = False
    """Whether others ring this doorbell by the process's pipe, not by the semaphore."""

    def __init__(
        self,
        name: str,
        on_wake: Callable[[bool], float],
        stand_in: Path | None = None,
    ) -> None:
        self._semaphore = open_posts(name, stand_in)
        by_semaphore = not isinstance(self._semaphore, PipePosts)
        self._steady = SteadyWait.of(name) if by_semaphore else None
        self._on_wake = on_wake
        self._stopping = threading.Event()
        self._ended = threading.Event()
        self._chores = GuardedChores('doorbell')
        self._thread = threading.Thread(
            target=self._run, name='shmstream-doorbell', daemon=True
        )

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def _run(self) -> None:
        try:
            self._look_around()
        finally:
            self._ended.set()

    def _look_around(self) -> None:
        wait_s = NET_S
        while not self._stopping.is_set():
            rung = self._wait(wait_s)
            try:
                wait_s = min(self._on_wake(rung), NET_S)
            except BaseException as ex:
                self._chores.report('wake-up', ex)
                wait_s = NET_S

    def _wait(self, wait_s: float) -> bool:
        try:
            rung = self._acquire(wait_s)
            # The semaphore is drained before ``on_wake`` looks: a post that is drained
            # after the look would be lost. The value is read first, because an acquire
            # that finds no post raises an exception, and that costs a lot.
            for _ in range(_MAX_DRAIN):
                if not rung or not self._semaphore.value or not self._acquire(0):
                    break
        except BaseException as ex:
            # The semaphore is closed or damaged, or something unforeseen has happened.
            self._chores.report('waiting on the semaphore', ex)
            self._stopping.wait(wait_s)
            return True
        return rung

    def _acquire(self, wait_s: float) -> bool:
        if wait_s > 0 and self._steady is not None:
            # This waits by a clock that nobody can set. A wait by the wall clock would
            # last longer if somebody set that clock back.
            return self._steady.acquire(wait_s)
        try:
            self._semaphore.acquire(wait_s)
        except (posix_ipc.BusyError, posix_ipc.SignalError):
            return False
        return True

    @property
    def alive(self) -> bool:
        """Whether the thread runs."""
        return self._thread.is_alive() and not self._stopping.is_set()

    @property
    def current(self) -> bool:
        """Whether the calling thread is the doorbell's thread."""
        return threading.get_ident() == self._thread.ident

    def ring(self) -> None:
        """Ring this doorbell from its own process; does nothing after ``stop``."""
        try:
            post(self._semaphore)
        except (posix_ipc.Error, OSError) as ex:
            if not self._stopping.is_set():
                self._chores.report('ringing', ex)

    def stop(self) -> None:
        """Stop and join the thread, then close the semaphore; in that order.

        Closing a semaphore that a thread waits on crashes the process.
        """
        self._stopping.set()
        if self.current:
            return
        # If the ring fails, the thread wakes up by itself within ``NET_S``.
        self.ring()
        if self._thread.ident is not None:
            # ``join`` alone is not enough: if a signal handler interrupts it, Python
            # regards the thread as ended from then on.
            self._ended.wait()
            self._thread.join()
        if self._steady is not None:
            self._steady.close()
        with contextlib.suppress(posix_ipc.ExistentialError):  # it has been closed
            self._semaphore.close()
