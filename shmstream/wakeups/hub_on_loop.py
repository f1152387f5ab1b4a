"""The follow hub on an asyncio event loop: one for each loop of the process."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable
from pathlib import Path

from shmstream.memory.segment import Segment
from shmstream.wakeups.hub_pace import TICK_S, FollowHub
from shmstream.wakeups.hub_watch import Taker, Watch
from shmstream.wakeups.pipe import PipeBell
from shmstream.wakeups.shared_board import Board

log = logging.getLogger('shmstream')

MAX_TICK_S = 0.02
"""The longest tick, in seconds, when the loop cannot keep up with shorter ones."""


class _FutureWaiter:
    __slots__ = ('future',)

    def __init__(self, future: asyncio.Future[None]) -> None:
        self.future = future

    def wake(self) -> None:
        if not self.future.done():
            self.future.set_result(None)


def _running() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None


class LoopHub:
    """Drives a ``FollowHub`` on an event loop.

    Only methods that say so may be called from other threads than the loop's.

    Attributes:
        loop: the event loop.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, board: Board) -> None:
        self.loop = loop
        self._board = board
        self._hub = FollowHub(board, self.look_soon, self._look_soon_here)
        self._later: asyncio.TimerHandle | None = None
        self._bell: PipeBell | None = None
        self._look_is_due = False
        self._all = False
        self._everybody = False
        self._ticking = False

    def look_soon(self, look_at_all: bool = False, everybody: bool = False) -> None:
        """Have the loop look at the marked watches soon; from any thread.

        Args:
            look_at_all: look also at watches that are not marked.
            everybody: wake all followers, whatever has happened to their streams.
        """
        # Both flags are set before ``_look_is_due`` is read, so the turn of the loop
        # that clears ``_look_is_due`` acts on them.
        if look_at_all:
            self._all = True
        if everybody:
            self._everybody = True
        if self._look_is_due:
            return
        self._look_is_due = True
        try:
            if _running() is self.loop:
                self.loop.call_soon(self._look_now)
            else:
                self.loop.call_soon_threadsafe(self._look_now)
        except RuntimeError:
            # The loop has closed.
            return

    def tell(self) -> None:
        """As ``FollowHub.tell``; from any thread."""
        self._hub.tell()

    @property
    def behind(self) -> bool:
        """Whether a segment has changed since the hub's last look; from any thread."""
        return self._hub.behind

    @property
    def closed(self) -> bool:
        """Whether the loop is closed; from any thread."""
        return self.loop.is_closed()

    def on_its_thread(self, action: Callable[[], None]) -> None:
        """Run ``action`` on the loop's thread, or here if no thread runs the loop."""
        if self.loop.is_running() and _running() is not self.loop:
            with contextlib.suppress(RuntimeError):  # the loop has closed
                self.loop.call_soon_threadsafe(action)
                return
        action()

    def abandon(self) -> None:
        """Close our copy of the pipe after a fork: the loop is the parent's."""
        if self._bell is not None:
            self._bell.abandon()

    def look(self) -> None:
        """Look at the marked watches now, in the loop's thread.

        A producer on this loop calls this between two writes, so that the loop's
        followers get the bytes before the ring drops them.
        """
        self._look_now()

    def _look_soon_here(self, watch: Watch) -> None:
        now = time.monotonic()
        if now - watch.asked_at >= TICK_S or _running() is not self.loop:
            watch.asked_at = now
            self.look_soon()
        elif self._later is None:
            # The stream is written more often than a hub ticks: one look, a tick from
            # now, delivers all that is written until then.
            self._later = self.loop.call_later(TICK_S, self._on_later)

    def _on_later(self) -> None:
        self._later = None
        self._look_now()

    def ring_by_pipe(self, path: Path) -> None:
        """Have others ring this loop by the pipe, without the doorbell's thread."""
        self.leave_pipe()
        try:
            self._bell = PipeBell(self.loop, path, self._on_ring, self._board.counts)
        except (OSError, RuntimeError) as ex:
            # A NotImplementedError (which is a RuntimeError) says that this loop cannot
            # wait for descriptors; any other RuntimeError says that the loop is closed.
            log.warning(
                'the pipe cannot ring the event loop, the doorbell thread does: %s', ex
            )
        else:
            self._board.ring_by_pipe(self._hub)

    def leave_pipe(self) -> None:
        """Undo ``ring_by_pipe``."""
        bell, self._bell = self._bell, None
        if bell is not None:
            self._board.ring_by_pipe(None)
            bell.close()

    def close(self) -> None:
        """Leave the pipe and give up all watches: the loop is closed."""
        self.leave_pipe()
        self._hub.close()

    def _on_ring(self) -> None:
        # This is set, so that the marks collected here schedule no other turn of the
        # loop: the look below sees these marks.
        self._look_is_due = True
        try:
            self._board.collect_on_ring()
        finally:
            self._look_now()

    def _look_now(self) -> None:
        self._look_is_due = False
        if self._everybody:
            self._everybody = False
            self._hub.wake_all()
        if self._all:
            self._all = False
            self._hub.look_at_all()
        try:
            self._hub.look(time.monotonic())
        finally:
            if self._hub.pending:
                # An exception on the way must not keep the other watches waiting.
                self.look_soon()
            if self._hub.awake and not self._ticking:
                self._ticking = True
                due = self.loop.time() + TICK_S
                self.loop.call_at(due, self._on_tick, due)

    def _on_tick(self, due: float) -> None:
        try:
            self._hub.tick()
        finally:
            # The ticks go on even after an exception, because nobody rings while a hub
            # is awake.
            self._ticking = self._hub.awake
            if self._ticking:
                # The loop is late because it is busy: tick less often.
                now = self.loop.time()
                due = now + min(TICK_S + (now - due), MAX_TICK_S)
                self.loop.call_at(due, self._on_tick, due)

    def join(self, segment: Segment) -> Watch:
        """As ``FollowHub.join``."""
        return self._hub.join(segment)

    def leave(self, watch: Watch) -> None:
        """As ``FollowHub.leave``."""
        self._hub.leave(watch)

    def leave_later(self, watch: Watch) -> None:
        """As ``leave``; from any thread."""
        with contextlib.suppress(RuntimeError):  # the loop has closed
            self.loop.call_soon_threadsafe(self.leave, watch)

    def take(self, watch: Watch, seen: bytes, taker: Taker) -> bool:
        """As ``FollowHub.take``."""
        return self._hub.take(watch, seen, taker)

    def stop_taking(self, watch: Watch, taker: Taker) -> None:
        """As ``FollowHub.stop_taking``."""
        self._hub.stop_taking(watch, taker)

    async def wait(
        self, watch: Watch, seen: bytes, wait_s: float | None = None
    ) -> None:
        """Return once the segment's header may differ from ``seen``.

        Args:
            watch: the watch of the segment.
            seen: the header's snapshot, taken *before* the caller found nothing to
                read.
            wait_s: return after this many seconds in any case; None: no limit (cancel,
                abort and shutdown wake the waiter too).
        """
        future = self.loop.create_future()
        waiter = _FutureWaiter(future)
        self._hub.wait(watch, seen, waiter)
        timer = None
        if wait_s is not None:
            timer = self.loop.call_later(wait_s, waiter.wake)
        try:
            await future
        finally:
            self._hub.forget(watch, waiter)
            if timer is not None:
                timer.cancel()
