"""What the doorbell's thread does, each time it wakes up: a list of named chores."""

from __future__ import annotations

import functools
import queue
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from shmstream.guarded_chores import GuardedChores
from shmstream.memory.mappings import Mappings
from shmstream.process.live_producers import LiveProducers
from shmstream.process.membership import Membership, MembershipHolder
from shmstream.process.room_requests import RoomRequests
from shmstream.wakeups.doorbell_thread import NET_S

WAKE: Final = 1
"""Occasion: each time that the thread wakes up."""

NEWS: Final = 2
"""Occasion: something has happened to a stream that is written here, or may have."""

NET: Final = 4
"""Occasion: every ``NET_S``, whether or not anybody rings."""


@dataclass
class Wake:
    """One waking of the thread.

    Attributes:
        membership: the process's.
        now: seconds on the monotonic clock.
        occasions: the sum of those that it is.
        look_at_all: whether followers are to look at what is not marked, too.
        everybody: whether all followers are to wake up: the process has been told to
            leave since the last time.
        wait_s: seconds to wait until the next time.
    """

    membership: Membership
    now: float
    occasions: int
    look_at_all: bool
    everybody: bool
    wait_s: float = NET_S


class DoorbellChores:
    """Each is done whatever another one raises.

    Args:
        holder: the process's membership; the chores begin when there is one.
        producers: what is being produced here.
        mappings: what is mapped here.
        room_requests: asks the supervisor for room.
        leaving: whether this process has been told to stop serving.
        keep_supervisor: sees to it that there is a supervisor.
        leave_unused: has the process leave if nothing here uses the deployment.
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
    ) -> None:
        self._holder = holder
        self._producers = producers
        self._room_requests = room_requests
        self._mappings = mappings
        self._leaving = leaving
        self._keep_supervisor = keep_supervisor
        self._leave_unused = leave_unused
        # What garbage collection has found: it may run in any thread, under any lock.
        self._later: queue.SimpleQueue[Callable[[], object]] = queue.SimpleQueue()
        self._guard = GuardedChores('doorbell')
        self._net_at = 0.0
        self._left = False

    def on_wake(self) -> float:
        """Do them; returns how many seconds to wait until the next time."""
        membership = self._holder.now
        if membership is None:
            return NET_S
        # First of all: somebody waits for this.
        self._guard.do('the board', membership.hubs.board.collect_on_ring, None)
        wake = self._look(membership)
        for name, occasion, chore in CHORES:
            if occasion & wake.occasions:
                self._guard.do(name, functools.partial(chore, self, wake), None)
        return wake.wait_s

    def _look(self, membership: Membership) -> Wake:
        now = time.monotonic()
        cancels, looks = membership.news()
        # By the clock, not by whether the wait ran out: under steady traffic the bell
        # never stops ringing.
        due = now >= self._net_at
        if due:
            self._net_at = now + NET_S
        left = self._guard.do('leaving', self._leaving, False)
        everybody, self._left = left and not self._left, left
        occasions = WAKE
        if due or cancels or looks or left:
            occasions |= NEWS
        if due:
            occasions |= NET
        return Wake(membership, now, occasions, due or looks, everybody)

    def _look_for_cancels(self, wake: Wake) -> None:
        for producer in self._producers.all():
            self._guard.do('a stop hook', producer.look_for_cancel, None)

    def _wake_loops(self, wake: Wake) -> None:
        if wake.look_at_all or wake.everybody:
            wake.membership.hubs.loops.look_soon(wake.look_at_all, wake.everybody)

    def _wake_threads(self, wake: Wake) -> None:
        if wake.look_at_all or wake.everybody:
            wake.membership.hubs.threads.look(wake.look_at_all, wake.everybody)

    def _ask_for_room(self, wake: Wake) -> None:
        if self._room_requests.wanted:
            self._room_requests.ask_aside(wake.now, wake.membership.room)

    def _look_for_threads(self, wake: Wake) -> None:
        wake.wait_s = wake.membership.hubs.threads.look()

    def _forget_mappings(self, wake: Wake) -> None:
        self._mappings.forget_unused(wake.now)

    def later(self, action: Callable[[], object]) -> None:
        """Have the doorbell's thread do something; from anywhere, a ``__del__`` too."""
        self._later.put(action)
        self._ring()

    def look_soon(self) -> None:
        """Have all that is done now and then be done at once; from any thread."""
        self._net_at = 0.0
        self._ring()

    def _ring(self) -> None:
        now = self._holder.now
        if now is not None:
            # Also from its own thread: what is put off meanwhile is not forgotten.
            now.doorbell.ring()

    def do_later(self) -> None:
        """Do what has been put off."""
        while True:
            try:
                # Whoever leaves does this as well: it must not wait for the other.
                action = self._later.get_nowait()
            except queue.Empty:
                return
            self._guard.do('letting go', action, None)


CHORES: Final[tuple[tuple[str, int, Callable[[DoorbellChores, Wake], object]], ...]] = (
    ('stop hooks', NEWS, DoorbellChores._look_for_cancels),
    ('loops', NEWS, DoorbellChores._wake_loops),
    ('threads', NEWS, DoorbellChores._wake_threads),
    ('what was put off', WAKE, lambda chores, wake: chores.do_later()),
    ('asking for room', WAKE, DoorbellChores._ask_for_room),
    ('threads that follow', WAKE, DoorbellChores._look_for_threads),
    ('mappings', NET, DoorbellChores._forget_mappings),
    ('the supervisor', NET, lambda chores, wake: chores._keep_supervisor()),
    ('leaving unused', NET, lambda chores, wake: chores._leave_unused()),
)
"""In their order: name, occasion, and what is done. The board comes before them."""
