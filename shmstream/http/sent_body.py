"""A stream that goes on as the body of a Falcon response."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Self


class SentBody:
    """What Falcon iterates over: it asks once, and by then all has been sent.

    An object, not a generator: a generator that is never started never runs its
    ``finally``, and Falcon awaits ``close`` of an object whatever happens.

    Args:
        sending: sends it; called at the first step.
        close: what to do at the end, or if there is no first step.
    """

    def __init__(
        self,
        sending: Callable[[], Awaitable[None]],
        close: Callable[[], None],
    ) -> None:
        self._sending = sending
        self._close = close

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        await self._sending()
        raise StopAsyncIteration

    async def close(self) -> None:
        """Let go of what it was to send."""
        self._close()
