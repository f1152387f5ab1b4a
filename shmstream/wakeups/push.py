"""Deliveries made by the hub itself, without waking the task that they are for."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Generator
from typing import Any

from shmstream.wakeups.hub import MAX_READ, Watch
from shmstream.wakeups.loop import LoopHub

Send = Callable[[bytes], Coroutine[Any, Any, object]]


class _Begun:
    """The rest of a coroutine that was stepped by hand, and waits for something.

    Goes on as if the task that awaits this had made the first step, too: whatever that
    is told (the wait failed, the task is cancelled) is for the coroutine to see first.
    """

    def __init__(self, begun: Coroutine[Any, Any, object], waits_for: Any) -> None:
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
    """One follower's place among the pushers of a watch.

    Args:
        hub: the hub of the loop that it runs on.
        watch: what it follows.
        read: takes what has come off the watch, b'' for nothing.
        send: hands it on.
    """

    def __init__(
        self, hub: LoopHub, watch: Watch, read: Callable[[Watch], bytes], send: Send
    ) -> None:
        self._hub = hub
        self._watch = watch
        self._read = read
        self._send = send
        self._parked: asyncio.Future[None]
        self._begun: _Begun | None = None

    async def wait(self, seen: bytes, wait_s: float | None) -> None:
        """Deliver as bytes come; return when there is something else to see to.

        Args:
            seen: the snapshot that was taken before nothing was found to send.
            wait_s: return after this many seconds in any case; None: no limit.

        Raises:
            OffsetLost: the ring overtook the follower.
        """
        self._begun = None
        self._parked = asyncio.get_running_loop().create_future()
        if not self._hub.take(self._watch, seen, self):
            return
        timer = None
        if wait_s is not None:
            timer = asyncio.get_running_loop().call_later(wait_s, self.wake)
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

    def push(self) -> None:
        """Send what has come, unless the task is about to go on by itself."""
        if self._parked.done():
            return
        try:
            data = self._read(self._watch)
            if not data:
                return
            sending = self._send(data)
            try:
                waits_for = sending.send(None)
            except StopIteration:
                if len(data) >= MAX_READ:
                    # There may be more, and nothing may ever tell of it.
                    self.wake()
                return
            self._begun = _Begun(sending, waits_for)
            self._parked.set_result(None)
        except asyncio.CancelledError:
            # No exception that may leave: all other followers depend on this turn.
            self._parked.cancel()
        except Exception as ex:
            self._parked.set_exception(ex)
