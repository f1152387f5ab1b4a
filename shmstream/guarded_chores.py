"""Chores of a thread that must go on, whatever its chores raise."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import TypeVar

log = logging.getLogger('shmstream')

REPORT_S = 60.0
"""A chore's failure is logged at most once in this time, per type of exception."""

T = TypeVar('T')


class GuardedChores:
    """Runs chores, each guarded by itself: a failed chore does not stop the next one.

    Args:
        whose: the thread's name, for the log.
    """

    def __init__(self, whose: str) -> None:
        self._whose = whose
        self._reported: dict[tuple[str, type[BaseException]], float] = {}

    def do(self, name: str, chore: Callable[[], T], otherwise: T) -> T:
        """Return what the chore returns, or ``otherwise`` if it raises.

        ``BaseException`` is caught too: a stop hook that calls ``sys.exit`` would end
        the thread.
        """
        try:
            return chore()
        except BaseException as ex:
            self.report(name, ex)
            return otherwise

    def report(self, name: str, ex: BaseException) -> None:
        """Log a failure, unless the same one was logged less than a minute ago."""
        try:
            kind, now = (name, type(ex)), time.monotonic()
            if now - self._reported.get(kind, -REPORT_S) >= REPORT_S:
                self._reported[kind] = now
                log.error('%s: %s failed', self._whose, name, exc_info=ex)
        except BaseException:
            # Logging may fail too, for want of memory: the thread must go on.
            pass
