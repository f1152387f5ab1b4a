"""Deliveries made by the hub itself, without waking the task that they are for."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Generator
from typing import Any, Protocol

from shmstream.wakeups.hub import Watch
from shmstream.wakeups.loop import LoopHub

Send = Callable[[bytes], Coroutine[Any, Any, object]]
"""Hands bytes on, in order, one call at a time."""

Write = Callable[[bytes], bool]
"""Hands bytes on at once; False if it cannot, and ``Send`` has to."""


class Cursor(Protocol):
    """A follower, as far as it is delivered to.

    Attributes:
        offset: the next byte that it wants.
        delivered: whether it has had any.
    """

    offset: int
    delivered: bool


class _Begun:
    """The rest of a coroutine that was stepped by hand, and waits for something."""

    def __init__(self, begun: Coroutine[Any, Any, object], waits_for: Any) -> None:
        self._begun = begun
        self._waits_for = waits_for

    def __await__(self) -> Generator[Any, Any, None]:
        try:
            # What the task would have been given, had it made that step.
            yield self._waits_for
        except BaseException:
            self._begun.close()
            raise
        yield from self._begun.__await__()


class Delivery:
    """One follower among the takers of a watch.

    Args:
        hub: the hub of the loop that it runs on.
        watch: what it follows.
        cursor: where it is.
        send: hands bytes on.
        write: tried first, if there is one.
    """

    def __init__(
        self,
        hub: LoopHub,
        watch: Watch,
        cursor: Cursor,
        send: Send,
        write: Write | None,
    ) -> None:
        self._hub = hub
        self._watch = watch
        self._cursor = cursor
        self._send = send
        self._write = write
        self._parked: asyncio.Future[_Begun | None]

    async def wait(self, seen: bytes, wait_s: float | None) -> None:
        """Deliver as bytes come; return when there is something else to see to.

        Args:
            seen: the snapshot that was taken before nothing was found to send.
            wait_s: return after this many seconds in any case; None: no limit.

        Raises:
            Whatever ``send`` and ``write`` raise.
        """
        loop = asyncio.get_running_loop()
        self._parked = loop.create_future()
        if not self._hub.take(self._watch, seen, self):
            return
        timer = None if wait_s is None else loop.call_later(wait_s, self.wake)
        try:
            begun = await self._parked
        finally:
            self._hub.stop_taking(self._watch, self)
            if timer is not None:
                timer.cancel()
        if begun is not None:
            await begun

    def wake(self) -> None:
        """Have the task go on: there is more to see to than bytes."""
        if not self._parked.done():
            self._parked.set_result(None)

    def take(self, at: int, data: bytes) -> None:
        """Hand these bytes on, unless the task is about to go on by itself."""
        parked, cursor = self._parked, self._cursor
        if parked.done():
            return
        if cursor.offset != at:
            # It waits for the stream to get where it has been before.
            parked.set_result(None)
            return
        # Before they are on their way: not even an error may have them sent twice.
        cursor.offset = at + len(data)
        cursor.delivered = True
        try:
            if self._write is not None and self._write(data):
                return
            sending = self._send(data)
            try:
                waits_for = sending.send(None)
            except StopIteration:
                return
            parked.set_result(_Begun(sending, waits_for))
        except Exception as ex:
            parked.set_exception(ex)
