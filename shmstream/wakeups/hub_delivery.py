"""Bytes that a loop's hub hands to a follower's writer, without waking its task."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Generator
from typing import Any, Protocol

from shmstream.wakeups.hub_on_loop import LoopHub
from shmstream.wakeups.hub_watch import Watch

Send = Callable[[bytes], Awaitable[object]]
"""Sends bytes to the reader; one call at a time, in order."""

Write = Callable[[bytes], bool]
"""Writes bytes to the reader at once; False if it cannot, then ``Send`` sends them."""


class Cursor(Protocol):
    """What a ``Delivery`` needs of its follower.

    Attributes:
        offset: the stream offset of the next byte that it wants.
        delivered: whether it has got any bytes.
    """

    offset: int
    delivered: bool


class _Iterated:
    """Steps an awaitable that is no coroutine.

    Its ``__await__`` may return any iterator, which need not have ``send`` and
    ``throw``. An exception that cannot be thrown into the iterator is raised instead.
    """

    def __init__(self, awaitable: Awaitable[object]) -> None:
        self._steps: Any = awaitable.__await__()

    def send(self, _: None) -> Any:
        return next(self._steps)

    def throw(self, ex: BaseException) -> Any:
        throw = getattr(self._steps, 'throw', None)
        if throw is None:
            raise ex
        return throw(ex)


class _Begun:
    """A coroutine whose first step the hub has made, and that now waits.

    The task that awaits this object makes all further steps, as if it had made the
    first one too. If the wait fails or the task is cancelled, the coroutine gets that
    exception where it waits.
    """

    def __init__(
        self, begun: Coroutine[Any, Any, object] | _Iterated, waits_for: Any
    ) -> None:
        self._begun = begun
        self._waits_for = waits_for
        self._cut: BaseException | None = None

    def cut(self, ex: BaseException) -> None:
        """Pass on an exception that the task got before it awaited this."""
        if self._waits_for is not None:
            self._waits_for.cancel()
        self._cut = ex

    def __await__(self) -> Generator[Any, Any, None]:
        cut, self._cut = self._cut, None
        waits_for = self._waits_for
        while True:
            if cut is None:
                try:
                    yield waits_for
                except BaseException as ex:
                    cut = ex
            try:
                if cut is None:
                    waits_for = self._begun.send(None)
                else:
                    waits_for = self._begun.throw(cut)
            except StopIteration:
                return
            finally:
                cut = None


class Delivery:
    """One follower among the takers of a watch.

    Args:
        hub: the hub of the loop that the follower's task runs on.
        watch: the watch of the segment that it follows.
        cursor: the follower's offset.
        send: sends bytes to the reader.
        write: tried before ``send``; None: there is no such function.
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
        self._parked: asyncio.Future[None]
        self._begun: _Begun | None = None

    async def wait(self, seen: bytes, wait_s: float | None) -> None:
        """Hand bytes on as they come; return when the task has something else to do.

        Args:
            seen: the header's snapshot that was taken *before* the follower found
                nothing to send.
            wait_s: return after this many seconds in any case; None: no limit.

        Raises:
            Whatever ``send`` and ``write`` raise.
        """
        self._begun = None
        loop = asyncio.get_running_loop()
        self._parked = loop.create_future()
        if not self._hub.take(self._watch, seen, self):
            return
        timer = None if wait_s is None else loop.call_later(wait_s, self.wake)
        try:
            await self._parked
        except BaseException as ex:
            if self._begun is None:
                raise
            self._begun.cut(ex)
        finally:
            self._hub.stop_taking(self._watch, self)
            if timer is not None:
                timer.cancel()
        if self._begun is not None:
            await self._begun

    def wake(self) -> None:
        """Make the task go on: something other than new bytes has happened."""
        if not self._parked.done():
            self._parked.set_result(None)

    def take(self, at: int, data: bytes) -> None:
        """Hand on ``data``, of offset ``at``, unless the task will wake up anyway."""
        parked, cursor = self._parked, self._cursor
        if parked.done():
            self._watch.not_taken(len(data))
            return
        if cursor.offset != at:
            # The follower's next byte is not the first of ``data``, so the follower's
            # task has to look.
            self._watch.not_taken(len(data))
            parked.set_result(None)
            return
        # The offset moves before the bytes are sent, so that no byte is sent twice, not
        # even after an error.
        cursor.offset = at + len(data)
        cursor.delivered = True
        try:
            if self._write is not None and self._write(data):
                return
            awaited = self._send(data)
            sending = awaited if isinstance(awaited, Coroutine) else _Iterated(awaited)
            try:
                waits_for = sending.send(None)
            except StopIteration:
                return
            self._begun = _Begun(sending, waits_for)
            parked.set_result(None)
        except asyncio.CancelledError:
            # No exception may leave this method, because the other takers have their
            # turn in the same call of the hub.
            parked.cancel()
        except Exception as ex:
            parked.set_exception(ex)
