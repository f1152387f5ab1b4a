"""Sends a request's body without using up the time that the answer has."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Self


class TimedBody:
    """A request's body. The limit of the answer is moved on while the body is sent.

    Args:
        body: the body.
        limit: the limit, which has been entered.
        time_s: seconds that are left from each piece on, and from the end of the body.
    """

    def __init__(
        self, body: AsyncIterator[bytes], limit: asyncio.Timeout, time_s: float
    ) -> None:
        self._pieces = aiter(body)
        self._limit = limit
        self._time_s = time_s

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        # The upstream has taken the piece before.
        self._push()
        piece = await anext(self._pieces)
        self._push()
        return piece

    def _push(self) -> None:
        # If the answer begins before the whole body is sent, the limit is over, and
        # cannot be moved.
        with contextlib.suppress(RuntimeError):
            now = asyncio.get_running_loop().time()
            self._limit.reschedule(now + self._time_s)
