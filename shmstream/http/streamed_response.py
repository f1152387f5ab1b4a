"""A live stream as the body of a Falcon response."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Self


class StreamedResponse:
    """A body that sends itself in the first step of its iteration, and yields nothing.

    It is an object, not a generator, because a generator that is never started never
    runs its ``finally``. Falcon awaits ``close`` of an object in any case.

    Args:
        sending: sends the whole body; called at the first step.
        close: called at the end, and also if there is no first step.
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
        """Let go of the stream."""
        self._close()
