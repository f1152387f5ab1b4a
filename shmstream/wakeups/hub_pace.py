"""The pace of a hub: when it is awake, and what it looks at.

Sans-I/O: it never sleeps and never calls a clock. ``hub_on_loop`` and
``hub_in_threads`` drive it::

            rung, again within SOON_S            QUIET_TICKS without a mark
    asleep  ------------------------->  awake  ---------------------------->  asleep
     |  ^                                |  ^
     '--' rung: looks, and naps on       '--' tick, every TICK_S

While a hub is awake it has the board collect the marks at every tick: bytes coalesce,
and nobody pays for a ring. For what comes now and then a ring costs less than ticks do.
What this very process writes needs no ring: its producers mark the watch, and the hub
looks in the loop's next turn, or a tick later if the loop itself writes faster than it
ticks. A hub looks only at what is marked, however much is followed.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from shmstream.memory.segment import Segment
from shmstream.wakeups.hub_watch import Taker, Waiter, Watch
from shmstream.wakeups.shared_board import Board

TICK_S = 0.001
"""How often a hub that is awake looks."""

QUIET_TICKS = 3
"""Ticks that bring nothing before a hub goes to sleep."""

SOON_S = 0.002
"""A hub stays awake after two rings within as long: ticks cost less by then."""


class FollowHub:
    """The watches of one event loop, or of all threads.

    Args:
        board: the process's board.
        look_soon: have whoever drives this hub call ``look``; from any thread.
        look_soon_here: the same for what is written in this process, also while the
            hub is awake, if that costs little. May wait for a tick.
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
        # Filled by whichever thread collects; appending and popping are atomic.
        self._marked: deque[Watch] = deque()
        self._patience = 0
        self._rung_at = float('-inf')
        self.awake = False

    @property
    def pending(self) -> bool:
        """Whether something is marked that has not been looked at."""
        return bool(self._marked)

    @property
    def behind(self) -> bool:
        """Whether a look at everything would find something; from any thread."""
        watches = list(self._watches.values())
        return any(watch.reader.snapshot() != watch.last for watch in watches)

    def join(self, segment: Segment) -> Watch:
        """Return the watch of this segment for one more follower."""
        watch = self._watches.get(segment.identity)
        if watch is None:
            watch = Watch(segment, self._on_mark)
            self._board.enter(watch, self)
            watch.last = watch.reader.snapshot()
            # Last: whoever joins it relies on its having a place.
            self._watches[segment.identity] = watch
        watch.followers += 1
        return watch

    def leave(self, watch: Watch) -> None:
        """One follower less; the last one takes the watch with it."""
        watch.followers -= 1
        if not watch.followers:
            self._watches.pop(watch.segment.identity, None)
            self._board.leave(watch, self)
            if not self._watches:
                # Its loop may end now without another turn, and nobody would collect;
                # asleep as well, if it has been marked and was about to look.
                self._marked.clear()
                self.awake = False
                self._board.nap(self)

    def wait(self, watch: Watch, seen: bytes, waiter: Waiter) -> None:
        """Wake ``waiter`` once the segment's header differs from ``seen``.

        ``seen`` is the snapshot that the caller took *before* it found nothing to read.
        The waiter may be woken before this returns.
        """
        watch.changed()
        if watch.last != seen:
            waiter.wake()
        else:
            watch.waiters[waiter] = None

    def take(self, watch: Watch, seen: bytes, taker: Taker) -> bool:
        """Hand bytes to ``taker`` until ``stop_taking``; ``seen`` as for ``wait``.

        Returns:
            False if the header differs from ``seen`` already: look again first.
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
        """The waiter no longer waits."""
        watch.waiters.pop(waiter, None)

    def _on_mark(self, watch: Watch, here: bool) -> bool:
        # Once until it is looked at: whoever drives us may be gone for long.
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
        """Look at what has been marked, and wake up if this becomes frequent.

        Args:
            now: seconds on a clock that never goes back.
        """
        if not self._marked:
            return
        if not self.awake and not self._board.naps:
            # A ring has ended the nap: nobody rings again before there is a new number.
            soon = now - self._rung_at < SOON_S
            self._rung_at = now
            if soon:
                self.awake = True
                self._patience = QUIET_TICKS
                self._board.stay_awake(self)
        try:
            self._look()
        finally:
            # Not only after the above: the ring may have come after the question.
            if not self.awake and not self._board.naps:
                self._board.nap(self)

    def tick(self) -> None:
        """Collect and look; does nothing in a hub that sleeps.

        A timer may outlive the time that it was set for. It must not take marks that a
        look is on its way for: that look has to wake the hub.
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
                # By another hub, while it took us to be awake.
                self._look_soon()

    def _look(self) -> bool:
        found = False
        # What is marked again meanwhile waits for the next turn.
        for _ in range(len(self._marked)):
            watch = self._marked.popleft()
            # Before the look: what is marked from now on is another look's.
            watch.marked = False
            found |= watch.changed()
        return found

    def look_at_all(self) -> None:
        """Look at everything: the safety net, and for what no mark tells of."""
        for watch in list(self._watches.values()):
            watch.changed()

    def wake_all(self) -> None:
        """Wake everybody whatever has happened: they have to look around."""
        for watch in list(self._watches.values()):
            watch.wake_waiters()
            watch.wake_takers()

    def close(self) -> None:
        """Nobody drives this hub any more."""
        self._board.nap(self)
        for watch in list(self._watches.values()):
            watch.followers = 0
            self._board.leave(watch, self)
        self._watches.clear()
