"""The pace of a hub: when it is awake, and what it looks at.

A hub does no I/O, never sleeps and never reads a clock. ``hub_on_loop`` and
``hub_in_threads`` drive it::

            rung, again within SOON_S            QUIET_TICKS without a mark
    asleep  ------------------------->  awake  ---------------------------->  asleep
     |  ^                                |  ^
     '--' rung: looks, naps again        '--' tick, every TICK_S

While a hub is awake it has the board collect the marks at every tick: several appends
are delivered together, and no producer pays for a ring. While appends are rare, a ring
costs less than ticks, so the hub sleeps.

Producers of the same process ring nobody: they mark the watch, and the hub looks in the
loop's next turn, or a tick later if the loop writes faster than the hub ticks.

A hub looks only at marked watches, however many segments are followed.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from shmstream.memory.segment import Segment
from shmstream.wakeups.hub_watch import Taker, Waiter, Watch
from shmstream.wakeups.shared_board import Board

TICK_S = 0.001
"""Seconds between two looks of an awake hub."""

QUIET_TICKS = 3
"""A hub goes to sleep after this many ticks in a row that bring nothing."""

SOON_S = 0.002
"""A hub stays awake after two rings within this time: then ticks cost less than rings.
"""


class FollowHub:
    """The watches of one event loop, or of all threads.

    Args:
        board: the process's board.
        look_soon: makes the driver of this hub call ``look`` soon; from any thread.
        look_soon_here: called instead when a producer of this process has marked a
            watch, also while the hub is awake; the look may come a tick later. None:
            ``look_soon`` is called then too, and only while the hub is asleep.

    Attributes:
        awake: whether the hub ticks, so that nobody has to ring.
    """

    def __init__(
        self,
        board: Board,
        look_soon: Callable[[], None],
        look_soon_here: Callable[[Watch], None] | None = None,
    ) -> None:
        self._board = board
        self._look_soon = look_soon
        self._look_soon_here = look_soon_here
        self._watches: dict[tuple[int, int], Watch] = {}
        # Any thread may collect and append here; appending and popping are atomic.
        self._marked: deque[Watch] = deque()
        self._patience = 0
        self._rung_at = float('-inf')
        self.awake = False

    @property
    def pending(self) -> bool:
        """Whether there are marked watches that the hub has not looked at."""
        return bool(self._marked)

    @property
    def behind(self) -> bool:
        """Whether any segment has changed since the last look; from any thread."""
        watches = list(self._watches.values())
        return any(watch.reader.snapshot() != watch.last for watch in watches)

    def join(self, segment: Segment) -> Watch:
        """Count one more follower of this segment, and return the segment's watch."""
        watch = self._watches.get(segment.identity)
        if watch is None:
            watch = Watch(segment, self._on_mark)
            self._board.enter(watch, self)
            watch.last = watch.reader.snapshot()
            # The watch is stored last, because the next follower that finds it relies
            # on its place.
            self._watches[segment.identity] = watch
        watch.followers += 1
        return watch

    def leave(self, watch: Watch) -> None:
        """Count one follower less; when no follower is left, drop the watch."""
        watch.followers -= 1
        if not watch.followers:
            watch.tell(self._board.counts)
            self._watches.pop(watch.segment.identity, None)
            self._board.leave(watch, self)
            if not self._watches:
                # Go to sleep, and drop the marks that still wait for a look: the loop
                # may end now without another turn, and an awake hub that never ticks
                # would keep others from ringing.
                self._marked.clear()
                self.awake = False
                self._board.nap(self)

    def wait(self, watch: Watch, seen: bytes, waiter: Waiter) -> None:
        """Wake ``waiter`` once the segment's header differs from ``seen``.

        ``seen`` is the header's snapshot that the caller took *before* it found nothing
        to read. The waiter may be woken before this returns.
        """
        watch.changed()
        if watch.last != seen:
            waiter.wake()
        else:
            watch.waiters[waiter] = None

    def take(self, watch: Watch, seen: bytes, taker: Taker) -> bool:
        """Hand bytes to ``taker`` until ``stop_taking``; ``seen`` as for ``wait``.

        Returns:
            False if the header differs from ``seen`` already: nothing will be handed
            over, and the caller has to read first.
        """
        watch.changed()
        if watch.last != seen:
            return False
        watch.takers[taker] = None
        return True

    def stop_taking(self, watch: Watch, taker: Taker) -> None:
        """Undo ``take``."""
        watch.takers.pop(taker, None)

    def forget(self, watch: Watch, waiter: Waiter) -> None:
        """Do not wake this waiter any more."""
        watch.waiters.pop(waiter, None)

    def _on_mark(self, watch: Watch, here: bool) -> bool:
        # A watch is listed once until it is looked at: if this hub's loop is blocked,
        # the list must not grow.
        fresh = not watch.marked
        if fresh:
            watch.marked = True
            self._marked.append(watch)
        if here and self._look_soon_here is not None:
            if fresh:
                self._look_soon_here(watch)
        elif not self.awake:
            self._look_soon()
        return fresh

    def look(self, now: float) -> None:
        """Look at the marked watches, and stay awake if rings become frequent.

        Args:
            now: seconds on a clock that never goes back.
        """
        if not self._marked:
            return
        if not self.awake and not self._board.naps:
            # A ring has ended the nap: nobody rings again before the next nap.
            soon = now - self._rung_at < SOON_S
            self._rung_at = now
            if soon:
                self.awake = True
                self._patience = QUIET_TICKS
                self._board.stay_awake(self)
        try:
            self._look()
        finally:
            # ``naps`` is read again, because a ring may have come meanwhile.
            if not self.awake and not self._board.naps:
                self._board.nap(self)

    def tick(self) -> None:
        """Collect and look; does nothing while the hub is asleep.

        A timer that was set while the hub was awake may still call this. It must not
        look at marks that a ring has brought: ``look`` has to find them, and may wake
        the hub.
        """
        if not self.awake:
            return
        self._board.collect(self)
        if self._look():
            self._patience = QUIET_TICKS
            return
        self._patience -= 1
        if self._patience <= 0:
            self.awake = False
            self._board.nap(self)
            if self._marked:
                # Another hub collected these marks while this one was awake: no ring
                # comes for them.
                self._look_soon()

    def _look(self) -> bool:
        found = False
        # A watch that is marked again meanwhile waits for the next look.
        for _ in range(len(self._marked)):
            watch = self._marked.popleft()
            # The flag is cleared before the look, because a mark that comes from now on
            # needs another look.
            watch.marked = False
            found |= watch.changed()
        return found

    def look_at_all(self) -> None:
        """Look at all watches: for the safety net, and for changes without a mark."""
        for watch in list(self._watches.values()):
            watch.changed()

    def tell(self) -> None:
        """Count what has been delivered since the last call; from any thread."""
        for watch in list(self._watches.values()):
            watch.tell(self._board.counts)

    def wake_all(self) -> None:
        """Wake all waiters and takers, whatever has happened to their streams."""
        for watch in list(self._watches.values()):
            watch.wake_waiters()
            watch.wake_takers()

    def close(self) -> None:
        """Give up all watches: nobody drives this hub any more."""
        self._board.nap(self)
        for watch in list(self._watches.values()):
            watch.followers = 0
            self._board.leave(watch, self)
        self._watches.clear()
