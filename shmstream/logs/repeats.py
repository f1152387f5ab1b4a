"""Keeps a fault that repeats from filling the log.

Warnings and errors of shmstream with the same words, whatever the values in them, are
the same fault. Each process logs ``BURST`` of them in ``WINDOW_S`` seconds, and counts
the others. The next line of that fault says how many there were.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable

BURST = 20
WINDOW_S = 10.0
"""An upstream that cannot be reached fails each request: two lines per second and
process are enough to see it, and few enough for any disk."""

_MOST = 256
"""Faults that are counted at once. There are fewer texts than this in shmstream."""

_DECISION = '_shmstream_logged'


class _Fault:
    def __init__(self) -> None:
        self.until = 0.0
        self.logged = 0
        self.left_out = 0


class Repeats(logging.Filter):
    """Lets pass what is not a repetition; one object for all handlers of a process.

    Args:
        now: returns the time, in seconds.
    """

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._now = now
        self._faults: dict[tuple[str, int, str], _Fault] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Return whether the record is logged."""
        if record.levelno < logging.WARNING or not record.name.startswith('shmstream'):
            return True
        # Several handlers ask of the same record.
        decided = record.__dict__.get(_DECISION)
        if decided is None:
            decided = record.__dict__[_DECISION] = self._decide(record)
        return bool(decided)

    def _decide(self, record: logging.LogRecord) -> bool:
        key = record.name, record.levelno, str(record.msg)
        if key not in self._faults and len(self._faults) >= _MOST:
            self._faults.clear()
        fault = self._faults.setdefault(key, _Fault())
        now = self._now()
        if now >= fault.until:
            fault.until, fault.logged = now + WINDOW_S, 0
            if fault.left_out:
                # The text may hold a per cent sign, so it is complete already.
                text = f'{record.getMessage()} ({fault.left_out} more were not logged)'
                record.msg, record.args = text, ()
                fault.left_out = 0
        fault.logged += 1
        if fault.logged <= BURST:
            return True
        fault.left_out += 1
        return False


of_this_process = Repeats()
"""The filter of all handlers of this process."""


def watch_repeats(handlers: Iterable[logging.Handler]) -> None:
    """Have these handlers leave out repetitions; more calls do no harm."""
    for handler in handlers:
        handler.addFilter(of_this_process)
