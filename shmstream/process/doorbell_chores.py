"""The work of the doorbell's thread at each wake-up: a list of named chores."""

from __future__ import annotations

import queue
import time
from collections.abc import Callable
from typing import Final

from shmstream.guarded_chores import GuardedChores
from shmstream.memory.mappings import Mappings
from shmstream.metrics.counts import TELL_S
from shmstream.process.live_producers import LiveProducers
from shmstream.process.membership import Membership
from shmstream.process.membership_holder import MembershipHolder
from shmstream.process.room_requests import RoomRequests
from shmstream.wakeups.doorbell_thread import NET_S

WAKE: Final = 1
"""Occasion: each wake-up of the thread."""

NEWS: Final = 2
"""Occasion: a stream may have been cancelled, or may have changed without a mark."""

NET: Final = 4
"""Occasion: every ``NET_S``, whether or not anybody rings."""


class Wake:
    """One wake-up of the thread.

    Args:
        membership: the process's membership.
        now: seconds on the monotonic clock.

    Attributes:
        occasions: the sum of the occasions of this wake-up.
        look_at_all: whether hubs have to look also at watches that are not marked.
        everybody: whether to wake all followers, because the process has been told to
            leave since the last wake-up.
        wait_s: seconds to wait until the next wake-up.
    """

    __slots__ = (
        'everybody',
        'look_at_all',
        'membership',
        'now',
        'occasions',
        'wait_s',
    )

    def __init__(self, membership: Membership, now: float) -> None:
        self.membership = membership
        self.now = now
        self.occasions = WAKE
        self.look_at_all = self.everybody = False
        self.wait_s = NET_S


class DoorbellChores:
    """Runs the chores; an exception in one of them does not stop the others.

    Args:
        holder: holds the process's membership; without a membership no chore is run.
        producers: the live producers of this process.
        mappings: the segments that are mapped here.
        room_requests: asks the supervisor for room.
        leaving: returns whether this process has been told to stop serving.
        keep_supervisor: starts a supervisor, and connects to it, if there is none.
        leave_unused: makes the process leave if it has no attachments.
        tell: counts what the producers and followers of this process have done.
    """

    def __init__(
        self,
        holder: MembershipHolder,
        producers: LiveProducers,
        mappings: Mappings,
        room_requests: RoomRequests,
        leaving: Callable[[], bool],
        keep_supervisor: Callable[[], None],
        leave_unused: Callable[[], None],
        tell: Callable[[], None],
    ) -> None:
        self._holder = holder
        self._producers = producers
        self._room_requests = room_requests
        self._mappings = mappings
        self._leaving = leaving
        self._keep_supervisor = keep_supervisor
        self._leave_unused = leave_unused
        self._tell = tell
        self._told_at = 0.0
        # Actions of finalizers, which may run in any thread, under any lock.
        self._later: queue.SimpleQueue[Callable[[], object]] = queue.SimpleQueue()
        self._guard = GuardedChores('doorbell')
        self._net_at = 0.0
        self._left = False

    def on_wake(self) -> float:
        """Run the chores; return how many seconds to wait until the next time."""
        membership = self._holder.now
        if membership is None:
            return NET_S
        wake = Wake(membership, time.monotonic())
        # Chores are called directly and not by ``GuardedChores.do``: followers wait for
        # them, and after a sleep each further call is slow, as the caches are cold.
        for name, occasion, chore in CHORES:
            if occasion & wake.occasions:
                try:
                    chore(self, wake)
                except BaseException as ex:
                    self._guard.report(name, ex)
        return wake.wait_s

    def _collect(self, wake: Wake) -> None:
        wake.membership.hubs.board.collect_on_ring()

    def _see(self, wake: Wake) -> None:
        cancels, looks = wake.membership.news()
        # The clock decides, because under steady traffic no wait ever ends without a
        # ring. Until a move is over, the thread of the old doorbell runs these chores
        # too. It cannot move anything, and must not take the new thread's turns.
        now = wake.membership
        due = wake.now >= self._net_at and (now.before is None or now.doorbell.current)
        if due:
            self._net_at = wake.now + NET_S
            wake.occasions |= NET
        wake.look_at_all = due or looks
        if due or cancels or looks:
            wake.occasions |= NEWS

    def _go_on_moving(self, wake: Wake) -> None:
        self._holder.go_on_moving(self._mappings.everything)

    def _see_leaving(self, wake: Wake) -> None:
        before, self._left = self._left, self._leaving()
        if self._left:
            wake.everybody = not before
            wake.occasions |= NEWS

    def _look_for_cancels(self, wake: Wake) -> None:
        for producer in self._producers.all():
            self._guard.do('a stop hook', producer._look_for_cancel, None)

    def _look_on_loops(self, wake: Wake) -> None:
        if wake.look_at_all or wake.everybody:
            wake.membership.hubs.loops.look_soon(wake.look_at_all, wake.everybody)

    def _ask_for_room(self, wake: Wake) -> None:
        if self._room_requests.wanted:
            self._room_requests.ask_aside(wake.now, wake.membership.room)

    def _look_in_threads(self, wake: Wake) -> None:
        threads = wake.membership.hubs.threads
        wake.wait_s = threads.look(wake.look_at_all, wake.everybody)

    def _forget_mappings(self, wake: Wake) -> None:
        self._mappings.forget_unused(wake.now)

    def _count(self, wake: Wake) -> None:
        if wake.now - self._told_at >= TELL_S:
            self._told_at = wake.now
            self._tell()

    def later(self, action: Callable[[], object]) -> None:
        """Make the doorbell's thread run ``action``; may be called by ``__del__``."""
        self._later.put(action)
        self._ring()

    def look_soon(self) -> None:
        """Make the thread run the chores of ``NET`` at once; from any thread."""
        self._net_at = 0.0
        self._ring()

    def _ring(self) -> None:
        now = self._holder.now
        if now is not None:
            # The doorbell's thread rings too: then an action that one of its chores has
            # deferred runs soon, and not only after the next wait.
            now.doorbell.ring()

    def do_later(self) -> None:
        """Run the actions that ``later`` has deferred."""
        while not self._later.empty():
            try:
                # This must not wait: a thread that makes the process leave calls
                # ``do_later`` too, and may have taken the last action.
                action = self._later.get_nowait()
            except queue.Empty:
                return
            self._guard.do('a deferred action', action, None)


CHORES: Final[tuple[tuple[str, int, Callable[[DoorbellChores, Wake], object]], ...]] = (
    # The board comes first, because followers wait for it.
    ('the board', WAKE, DoorbellChores._collect),
    ('the table', WAKE, DoorbellChores._see),
    ('moving', NET, DoorbellChores._go_on_moving),
    ('leaving', WAKE, DoorbellChores._see_leaving),
    ('stop hooks', NEWS, DoorbellChores._look_for_cancels),
    ('loops', NEWS, DoorbellChores._look_on_loops),
    ('deferred actions', WAKE, lambda chores, wake: chores.do_later()),
    ('room', WAKE, DoorbellChores._ask_for_room),
    ('threads', WAKE, DoorbellChores._look_in_threads),
    ('mappings', NET, DoorbellChores._forget_mappings),
    ('the supervisor', NET, lambda chores, wake: chores._keep_supervisor()),
    ('leaving unused', NET, lambda chores, wake: chores._leave_unused()),
    ('counting', NET, DoorbellChores._count),
)
"""Name, occasion and function of each chore, in the order in which they are run."""
