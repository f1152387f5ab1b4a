"""The follow hub on an asyncio event loop: one for each loop of the process."""

from __future__ import annotations

import asyncio
import contextlib

from shmstream.memory.segment import Segment
from shmstream.wakeups.hub import TICK_S, FollowHub, Watch

MAX_TICK_S = 0.02
"""As far as a tick stretches when the loop cannot keep up with it."""


class _FutureWaiter:
    __slots__ = ('future',)

    def __init__(self, future: asyncio.Future[None]) -> None:
        self.future = future

    def wake(self) -> None:
        if not self.future.done():
            self.future.set_result(None)


class LoopHub:
    """Drives a ``FollowHub``; everything but ``poke`` belongs to the loop's thread."""

    def __init__(self, loop: asyncio.AbstractEventLoop, slot: int) -> None:
        self._loop = loop
        self._hub = FollowHub(slot)
        self._poked = False
        self._wake_all = False
        self._slot: int | None = None
        self._ticking = False

    def poke(self, everybody: bool = False) -> bool:
        """Have the loop look at what sleeps; from any thread.

        Args:
            everybody: wake all waiters, whatever has happened to their streams.

        Returns:
            False if the loop is closed and the hub of no more use.
        """
        if everybody:
            self._wake_all = True
        if self._poked:
            return not self._loop.is_closed()
        self._poked = True
        try:
            self._loop.call_soon_threadsafe(self._on_poke)
        except RuntimeError:
            return False
        return True

    def move(self, slot: int) -> None:
        """As ``FollowHub.move``; from any thread."""
        self._slot = slot
        self.poke()

    def _on_poke(self) -> None:
        self._poked = False
        if self._slot is not None:
            self._hub.move(self._slot)
            self._slot = None
        if self._wake_all:
            self._wake_all = False
            self._hub.wake_all()
        self._hub.look()
        self._ensure_ticking()

    def _ensure_ticking(self) -> None:
        if self._hub.busy and not self._ticking:
            self._ticking = True
            due = self._loop.time() + TICK_S
            self._loop.call_at(due, self._on_tick, due)

    def _on_tick(self, due: float) -> None:
        self._hub.tick()
        if not self._hub.busy:
            self._ticking = False
            return
        # A loop that comes late has more to do than to look: look less often.
        now = self._loop.time()
        due = now + min(TICK_S + (now - due), MAX_TICK_S)
        self._loop.call_at(due, self._on_tick, due)

    def join(self, segment: Segment) -> Watch:
        """As ``FollowHub.join``."""
        return self._hub.join(segment)

    def leave(self, watch: Watch) -> None:
        """As ``FollowHub.leave``."""
        self._hub.leave(watch)

    def leave_later(self, watch: Watch) -> None:
        """As ``leave``; from any thread."""
        with contextlib.suppress(RuntimeError):  # the loop has closed
            self._loop.call_soon_threadsafe(self.leave, watch)

    async def wait(
        self, watch: Watch, seen: bytes, wait_s: float | None = None
    ) -> None:
        """Return once the segment's header is no longer ``seen``, or it may be so.

        Args:
            watch: what to wait for.
            seen: the snapshot taken before there was found to be nothing to read.
            wait_s: return after this many seconds in any case; None: no limit but the
                hub's own (cancel, abort, shutdown all change the header).
        """
        future = self._loop.create_future()
        waiter = _FutureWaiter(future)
        self._hub.wait(watch, seen, waiter)
        self._ensure_ticking()
        timer = None
        if wait_s is not None:
            timer = self._loop.call_later(wait_s, waiter.wake)
        try:
            await future
        finally:
            self._hub.forget(watch, waiter)
            if timer is not None:
                timer.cancel()
