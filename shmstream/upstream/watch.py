"""The watch over the answers that are being read.

aiohttp has a read timeout for each connection. But if aiohttp itself closes a
connection, because of a bad chunk header for example, it cancels that timeout and wakes
no reader. So no read relies on aiohttp: this watch looks at all reads that wait, and
fails those that wait in vain::

    a read waits, and                             the watch fails it
    its connection is closed                      at the second look that sees that
    nothing has arrived for the allowed silence   at the first look after that time

The watch counts looks, not seconds: if the process was suspended meanwhile, a read
still has the looks that were left. A read that does not wait, because the answer's own
reader is slow, is not failed.
"""

from __future__ import annotations

import asyncio
import logging
import math
from typing import Protocol

log = logging.getLogger('shmstream.upstream')

LOOK_S = 0.2
"""Seconds between two looks, at most. Three looks are less than a second."""

_LEAST_LOOKS = 4
_LOST_LOOKS = 2


class Read(Protocol):
    """A body that is being read.

    Attributes:
        steps: how many reads of a chunk have begun.
    """

    steps: int

    def waits(self) -> bool:
        """Whether the reader of the body waits for bytes."""

    def lost(self) -> bool:
        """Whether the connection is closed."""

    def fail(self, silent: bool) -> None:
        """Have the read that waits raise an error.

        Args:
            silent: nothing arrives any more; else the connection is closed.
        """


class _Looked:
    """What the looks at one read have seen so far."""

    __slots__ = ('lost', 'quiet', 'steps')

    def __init__(self) -> None:
        self.steps = -1
        self.quiet = 0
        self.lost = 0


class Watch:
    """Looks at the reads of one event loop. A timer runs only while there are reads.

    Args:
        silence_s: seconds for which nothing may arrive while a read waits.
    """

    def __init__(self, silence_s: float) -> None:
        self._look_s = min(LOOK_S, silence_s / _LEAST_LOOKS)
        self._most = math.ceil(silence_s / self._look_s)
        self._reads: dict[Read, _Looked] = {}
        self._timer: asyncio.TimerHandle | None = None

    def enter(self, read: Read) -> None:
        """Look at this read from now on."""
        self._reads[read] = _Looked()
        if self._timer is None:
            self._next()

    def leave(self, read: Read) -> None:
        """Stop looking at this read. Idempotent."""
        self._reads.pop(read, None)

    def close(self) -> None:
        """Stop looking at all reads."""
        self._reads.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _next(self) -> None:
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(self._look_s, self._look)

    def _look(self) -> None:
        self._timer = None
        for read, looked in list(self._reads.items()):
            try:
                self._look_at(read, looked)
            except Exception:
                # An error with one read must not stop the watch over the others.
                log.exception('an answer cannot be looked at')
                self.leave(read)
        if self._reads:
            self._next()

    def _look_at(self, read: Read, looked: _Looked) -> None:
        if not read.waits() or read.steps != looked.steps:
            looked.steps = read.steps
            looked.quiet = looked.lost = 0
            return
        looked.quiet += 1
        looked.lost = looked.lost + 1 if read.lost() else 0
        if looked.lost >= _LOST_LOOKS or looked.quiet >= self._most:
            self.leave(read)
            read.fail(silent=looked.lost < _LOST_LOOKS)
