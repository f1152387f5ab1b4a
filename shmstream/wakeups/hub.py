"""The follow hub: which of this process's followers wait for which segment.

Sans-I/O: it never sleeps and never calls a clock. ``loop`` and ``threads`` drive it::

            rung, again within SOON_S            QUIET_TICKS without a mark
    asleep  ------------------------->  awake  ---------------------------->  asleep
     |  ^                                |  ^
     '--' rung: looks, and naps on       '--' tick, every TICK_S

While a hub is awake it collects the board's marks at every tick: bytes coalesce, and
nobody pays for a bell. What comes now and then is cheaper to be rung for than to be
ticked for; so is what this very process writes: its producers tell the hub, which looks
in the loop's next turn, or a tick later if the loop itself writes faster than it ticks.
Only what is marked is looked at, however much is followed.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Protocol

from shmstream.errors import OffsetLost
from shmstream.memory.segment import Segment
from shmstream.ring.layout import WORD
from shmstream.wakeups.board import Board

TICK_S = 0.001
"""How often a hub that is awake looks."""

QUIET_TICKS = 3
"""Ticks that bring nothing before a hub goes to sleep."""

SOON_S = 0.002
"""A hub that is rung twice within as long stays awake: ticks cost less by then."""

MAX_READ = 256 * 1024
"""Bytes that one read copies: small against a ring, large against a system call."""

_SHARED_READ = 64 * 1024

_MAX_HAND_OVER = 64 * 1024
"""Bytes that are handed to all takers in one turn of the loop; more, and each takes its
own turn."""

_REST = slice(16, None)
"""Of a snapshot: what is neither head nor dropped prefix."""


class Waiter(Protocol):
    """Whatever can be woken once."""

    def wake(self) -> None:
        """Called once, in the thread that drives the hub."""


class Taker(Protocol):
    """Whatever takes bytes as they come, for as long as it is among the takers."""

    def take(self, at: int, data: bytes) -> None:
        """These bytes, one at least, have come at this offset. In the hub's thread."""

    def wake(self) -> None:
        """Something else has changed, or there is too much to be handed over."""


class Watch:
    """One segment as one hub sees it, shared by all of the hub's followers of it."""

    __slots__ = (
        '_marked',
        '_shared',
        'followers',
        'last',
        'marked',
        'reader',
        'segment',
        'takers',
        'told_at',
        'waiters',
    )

    def __init__(self, segment: Segment, marked: Callable[[Watch, bool], bool]) -> None:
        self.segment = segment
        self.reader = segment.reader
        self.waiters: dict[Waiter, None] = {}
        self.takers: dict[Taker, None] = {}
        self.last = b''
        self.followers = 0
        self._marked = marked
        self.marked = False
        self.told_at = 0.0
        self._shared: tuple[int, bytes] = (-1, b'')

    def mark(self, here: bool = False) -> bool:
        """The board tells of a change; from any thread."""
        return self._marked(self, here)

    def read(self, offset: int) -> bytes:
        """Read as ``RingReader.read`` does; followers at one offset share the bytes.

        May return less than there is: then the header has changed, or is about to.
        """
        at, data = self._shared
        if at == offset:
            return data
        data = self.reader.read(offset, MAX_READ)
        if self.followers > 1 and 0 < len(data) <= _SHARED_READ:
            self._shared = (offset, data)
        return data

    def changed(self) -> bool:
        """Look; if the header has changed, wake who waits and push to who takes."""
        now = self.reader.snapshot()
        before = self.last
        if now == before:
            return False
        self.last = now
        self._shared = (-1, b'')
        if self.waiters:
            self.wake_waiters()
        if self.takers:
            if now[_REST] == before[_REST]:
                self._hand_over(_head_of(before), _head_of(now))
            else:
                self.wake_takers()
        return True

    def _hand_over(self, at: int, head: int) -> None:
        if head == at:
            # Only the dropped prefix has moved: the bytes are still on their way. An
            # empty chunk would be taken for the end.
            return
        if head - at > _MAX_HAND_OVER:
            self.wake_takers()
            return
        try:
            data = self.reader.read(at, head - at)
        except (OffsetLost, MemoryError):
            # Each finds out for itself, and says so.
            self.wake_takers()
            return
        # A copy: who takes may leave at that.
        for taker in list(self.takers):
            taker.take(at, data)

    def wake_waiters(self) -> None:
        """Wake whoever waits."""
        waiters, self.waiters = self.waiters, {}
        for waiter in waiters:
            waiter.wake()

    def wake_takers(self) -> None:
        """Have whoever takes bytes look around."""
        for taker in list(self.takers):
            taker.wake()


def _head_of(snapshot: bytes) -> int:
    return int.from_bytes(snapshot[:WORD], 'little')


class FollowHub:
    """The watches of one event loop, or of all threads.

    Args:
        board: the process's bell board.
        alert: have whoever drives this hub call ``look``; from any thread.
        alert_here: the same for what is written in this process, also while the hub is
            awake, if that costs little. May wait for a tick.
    """

    def __init__(
        self,
        board: Board,
        alert: Callable[[], None],
        alert_here: Callable[[Watch], None] | None = None,
    ) -> None:
        self._board = board
        self._alert = alert
        self._alert_here = alert_here
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
                # asleep as well, if it has been told something and is to wake up.
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
        if here and self._alert_here is not None:
            if fresh:
                self._alert_here(watch)
        elif not self.awake:
            self._alert()
        return fresh

    def look(self, now: float) -> None:
        """Look at what has been marked, and wake up if this becomes frequent.

        Args:
            now: seconds on a clock that never goes back.
        """
        if not self._marked:
            return
        if not self.awake and not self._board.naps:
            # We have been rung for, and nobody will be again before there is a number.
            soon = now - self._rung_at < SOON_S
            self._rung_at = now
            if soon:
                self.awake = True
                self._patience = QUIET_TICKS
                self._board.wake(self)
        try:
            self._look()
        finally:
            # Not only after the above: the ring may have come after the question.
            if not self.awake and not self._board.naps:
                self._board.nap(self)

    def tick(self) -> None:
        """Collect and look; does nothing in a hub that sleeps.

        A timer may outlive the wake that it was set for. It must not take what a poke
        is on its way for: that has to wake the hub.
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
                self._alert()

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
