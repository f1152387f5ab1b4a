"""Deliveries made by the hub itself, without waking the task that they are for."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Generator
from typing import Any, Protocol

from shmstream.wakeups.hub_on_loop import LoopHub
from shmstream.wakeups.hub_watch import Watch

Send = Callable[[bytes], Awaitable[object]]
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


class _Iterated:
    """An awaitable that is no coroutine, as far as one is stepped.

    What it waits by may be any iterator, which need not take what is sent or thrown:
    the step that it has made is all that it can be told of then.
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
    """The rest of a coroutine that was stepped by hand, and waits for something.

    Goes on as if the task that awaits this had made the first step, too: whatever that
    is told (the wait failed, the task is cancelled) is for the coroutine to see first.
    """

    def __init__(
        self, begun: Coroutine[Any, Any, object] | _Iterated, waits_for: Any
    ) -> None:
        self._begun = begun
        self._waits_for = waits_for
        self._cut: BaseException | None = None

    def cut(self, ex: BaseException) -> None:
        """The task was told so before it came to await this."""
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
        self._parked: asyncio.Future[None]
        self._begun: _Begun | None = None

    async def wait(self, seen: bytes, wait_s: float | None) -> None:
        """Deliver as bytes come; return when there is something else to see to.

        Args:
            seen: the snapshot that was taken before nothing was found to send.
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
            awaited = self._send(data)
            sending = awaited if isinstance(awaited, Coroutine) else _Iterated(awaited)
            try:
                waits_for = sending.send(None)
            except StopIteration:
                return
            self._begun = _Begun(sending, waits_for)
            parked.set_result(None)
        except asyncio.CancelledError:
            # No exception that may leave: all other followers depend on this turn.
            parked.cancel()
        except Exception as ex:
            parked.set_exception(ex)
