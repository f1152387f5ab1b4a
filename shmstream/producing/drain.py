"""Lets productions run on in a process that has been told to leave.

::

    told to leave (HUP, max_requests, TTOU, TERM, ...)
      productions go on, and the process tells its master that it is alive
        after the limit, or, if the master itself is stopping, shortly before it kills
        its workers: they are aborted, and their readers are told

A thread looks (``running``), and whoever ends the process waits (``finish``).
"""

from __future__ import annotations

import asyncio
import functools
import logging
import threading
import time
from collections.abc import Callable, Iterator
from typing import Protocol

from shmstream.guarded_chores import GuardedChores
from shmstream.producing.production import Production

log = logging.getLogger('shmstream')

LOOK_S = 0.2

BEFORE_KILL = 0.8
"""The part of the graceful timeout after which productions are aborted. The rest of
the timeout is for closing the sources, and for sending the last bytes."""

_CLOSING_S = 1.0
"""Seconds, at most, for which aborted sources are waited for."""

_ENDED = 'the producing worker has shut down'


class Life(Protocol):
    """The life of this process; ``deploy.worker_life.WorkerLife`` says more."""

    def leaving(self) -> bool:
        """Whether this process has been told to stop serving."""

    def stopping(self) -> bool:
        """Whether the master stops as well, and will kill a worker that is too slow."""

    @property
    def graceful_timeout(self) -> float:
        """Seconds that a stopping master gives its workers."""

    def notify(self) -> None:
        """Tell the master that this process is alive."""

    def masters(self) -> list[int] | None:
        """The masters that live; None if this process is its own master."""


class Drain:
    """Ends the productions of a process that leaves. Thread-safe.

    Args:
        life: the life of this process.
        limit_s: seconds for which productions may run on, at most.
        running: returns the productions that have not ended.
    """

    def __init__(
        self, life: Life, limit_s: float, running: Callable[[], list[Production]]
    ) -> None:
        self._life = life
        self._limit_s = limit_s
        self._running = running
        self._lock = threading.RLock()
        self._chores = GuardedChores('drain')
        self._told = self._stopping = self._aborted = False
        self._deadline: float | None = None

    def look(self) -> None:
        """Look whether the process leaves; abort the productions when it is time."""
        if not (self._told or self._life.leaving()):
            return
        with self._lock:
            now = time.monotonic()
            if self._deadline is None or now <= self._deadline + _CLOSING_S:
                # gunicorn's workers do not notify their master themselves meanwhile.
                # After that the master may kill a worker whose sources never stop.
                self._chores.do('notifying the master', self._life.notify, None)
            running = self._running()
            if self._deadline is None:
                self._deadline = now + self._limit_s
                if running:
                    log.info('leaving: %d productions go on', len(running))
            if not self._stopping and self._will_be_killed():
                self._stopping = True
                graceful_s = self._life.graceful_timeout * BEFORE_KILL
                self._deadline = min(self._deadline, now + graceful_s)
            if now >= self._deadline:
                self._abort(running)

    def _will_be_killed(self) -> bool:
        if self._life.stopping():
            return True
        # Of its own accord a worker only makes room for another one.
        return self._told and self._life.masters() is None

    def _abort(self, running: list[Production]) -> None:
        if running and not self._aborted:
            log.warning('aborted %d productions', len(running))
        self._aborted = True
        for production in running:
            # A source that is being closed must not be interrupted a second time.
            if not production.cancelled.is_set():
                abort = functools.partial(production.abort, _ENDED)
                self._chores.do('aborting a production', abort, None)

    def pause(self) -> None:
        """Wait until the next look, or until a production has ended."""
        for production in self._running()[:1]:
            production.ended.wait(LOOK_S)

    def abort_all(self) -> None:
        """Abort all productions now, for a process that is told to end at once."""
        with self._lock:
            self._abort(self._running())

    def finish(self) -> None:
        """Wait until all productions have ended; in the thread that ends the process.

        Returns after the limit, and a second, at the latest.
        """
        for _ in self._looks():
            self.pause()

    async def finish_async(self, at_once: Callable[[], bool] = lambda: False) -> None:
        """As ``finish``, on the event loop that the productions run on.

        Args:
            at_once: returns whether the process has to end at once after all.
        """
        for _ in self._looks():
            if at_once():
                self.abort_all()
            await asyncio.sleep(LOOK_S / 4)

    def _looks(self) -> Iterator[None]:
        if not self._life.leaving():
            self._told = True
        given_up_at: float | None = None
        while self._running():
            self.look()
            if self._aborted:
                now = time.monotonic()
                if given_up_at is None:
                    tenth_s = self._life.graceful_timeout / 10
                    given_up_at = now + min(_CLOSING_S, tenth_s)
                if now >= given_up_at:
                    left = len(self._running())
                    log.warning('%d sources have not stopped', left)
                    return
            yield
