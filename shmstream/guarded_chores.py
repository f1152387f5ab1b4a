"""What a thread does that must outlive whatever its work raises."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import TypeVar

log = logging.getLogger('shmstream')

REPORT_S = 60.0
"""The same failure of the same chore is logged once in as long."""

T = TypeVar('T')


class GuardedChores:
    """Does chores, each guarded by itself: one that fails does not keep the next off.

    Args:
        whose: the thread's name, for the log.
    """

    def __init__(self, whose: str) -> None:
        self._whose = whose
        self._reported: dict[tuple[str, type[BaseException]], float] = {}

    def do(self, name: str, chore: Callable[[], T], otherwise: T) -> T:
        """Return what the chore returns, or ``otherwise`` if it raises anything.

        Anything at all: a stop hook that calls ``sys.exit`` would end the thread, too.
        """
        try:
            return chore()
        except BaseException as ex:
            self.report(name, ex)
            return otherwise

    def report(self, name: str, ex: BaseException) -> None:
        """Log a failure, unless the same one has been logged just now."""
        try:
            kind, now = (name, type(ex)), time.monotonic()
            if now - self._reported.get(kind, -REPORT_S) >= REPORT_S:
                self._reported[kind] = now
                log.error('%s: %s failed', self._whose, name, exc_info=ex)
        except BaseException:
            # Without memory it cannot be logged: the thread must go on without that.
            pass
