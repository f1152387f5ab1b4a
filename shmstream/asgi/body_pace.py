"""How slowly the body of a request may come.

::

    the time that a body has left    at first and at most      the send timeout
                                     for each 16 KiB received  a second more
"""

from __future__ import annotations

import asyncio
from types import TracebackType
from typing import Self

from shmstream.asgi.stalled import looks_in

LEAST_RATE = 16 * 1024
"""Bytes per second. A body that comes more slowly than this runs out of time."""


class Pace:
    """The time that a body has left. Enter it around the reading of the body.

    Time is counted in looks, not read from a clock: if the client or this process is
    suspended, the client loses none of its time.

    Args:
        timeout_s: seconds that a body has at first, and at most.
    """

    def __init__(self, timeout_s: float) -> None:
        self._timeout_s = self._left_s = timeout_s
        self._look_s = timeout_s / looks_in(timeout_s)
        self._over = False

    def came(self, size: int) -> None:
        """Add the time for ``size`` bytes, which have arrived.

        Raises:
            TimeoutError: no time was left when they arrived.
        """
        # The task has been cancelled then. But up to Python 3.11 ``asyncio.wait_for``,
        # in which gunicorn waits for bytes, drops a cancellation that comes in the same
        # turn of the event loop as the bytes.
        if self._over:
            raise TimeoutError
        self._left_s = min(self._left_s + size / LEAST_RATE, self._timeout_s)

    def look(self) -> bool:
        """Subtract the time between two looks; return whether any is left."""
        self._left_s -= self._look_s
        # A hundredth of a look is a rounding error, and counts as no time.
        return self._left_s > self._look_s / 100

    async def __aenter__(self) -> Self:
        self._bound = asyncio.timeout(None)
        await self._bound.__aenter__()
        self._loop = asyncio.get_running_loop()
        self._timer = self._loop.call_later(self._look_s, self._look)
        return self

    def _look(self) -> None:
        if self.look():
            self._timer = self._loop.call_later(self._look_s, self._look)
        else:
            self._over = True
            self._bound.reschedule(self._loop.time())

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Raise ``TimeoutError`` if no time was left."""
        self._timer.cancel()
        await self._bound.__aexit__(kind, error, traceback)
