"""What the doorbell's thread does, each time it wakes up."""

from __future__ import annotations

import queue
import time
from collections.abc import Callable

from shmstream.control.asker import Asker
from shmstream.memory.mappings import Mappings
from shmstream.producers import Producers
from shmstream.seat import Seat
from shmstream.wakeups.chores import Chores
from shmstream.wakeups.doorbell import NET_S


class Duties:
    """Each is done whatever another one raises.

    Args:
        seat: the process's slot; the duties begin when it has one.
        producers: what is being produced here.
        mappings: what is mapped here.
        asker: asks the supervisor about room.
        leaving: whether this process has been told to stop serving.
        keep_supervisor: sees to it that there is a supervisor.
        leave_unused: has the process leave if nothing here uses the deployment.
    """

    def __init__(
        self,
        seat: Seat,
        producers: Producers,
        mappings: Mappings,
        asker: Asker,
        leaving: Callable[[], bool],
        keep_supervisor: Callable[[], None],
        leave_unused: Callable[[], None],
    ) -> None:
        self._seat = seat
        self._producers = producers
        self._mappings = mappings
        self._asker = asker
        self._leaving = leaving
        self._keep_supervisor = keep_supervisor
        self._leave_unused = leave_unused
        # What garbage collection has found: it may run in any thread, under any lock.
        self._later: queue.SimpleQueue[Callable[[], object]] = queue.SimpleQueue()
        self._chores = Chores('doorbell')
        self._look_at = 0.0
        self._left = False

    def on_wake(self) -> float:
        """Do them; returns how many seconds to wait until the next time."""
        seat, slot = self._seat, self._seat.slot
        if slot is None:
            return NET_S
        do = self._chores.do
        # First of all: somebody waits for this.
        do('the board', seat.board.rung, None)
        now = time.monotonic()
        notices, looks = seat.news(slot)
        # By the clock, not by whether the wait ran out: under steady traffic the bell
        # never stops ringing.
        due = now >= self._look_at
        if due:
            self._look_at = now + NET_S
        left = do('leaving', self._leaving, False)
        if due or notices or looks or left:
            self._look_around(due or looks, left)
        self.do_later()
        if self._asker.wanted:
            do('asking for room', lambda: self._asker.ask_aside(now, seat.room), None)
        wait_s = do('threads that follow', seat.thread_hub.step, NET_S)
        if due:
            do('mappings', lambda: self._mappings.forget_unused(now), None)
            do('the supervisor', self._keep_supervisor, None)
            do('leaving unused', self._leave_unused, None)
        return wait_s

    def _look_around(self, look_at_all: bool, left: bool) -> None:
        do, seat = self._chores.do, self._seat
        for producer in self._producers.all():
            do('a stop hook', producer.notice, None)
        everybody = left and not self._left
        self._left = left
        if not look_at_all and not everybody:
            return
        do('loops', lambda: seat.loop_hubs.poke(look_at_all, everybody), None)
        do('threads', lambda: seat.thread_hub.step(look_at_all, everybody), NET_S)

    def later(self, action: Callable[[], object]) -> None:
        """Have the doorbell's thread do something; from anywhere, a ``__del__`` too."""
        self._later.put(action)
        if self._seat.slot is not None:
            self._seat.doorbell.ring()

    def look_soon(self) -> None:
        """Have all that is done now and then be done at once; from any thread."""
        self._look_at = 0.0
        if self._seat.slot is not None:
            self._seat.doorbell.ring()

    def do_later(self) -> None:
        """Do what has been put off."""
        while True:
            try:
                # Whoever leaves does this as well: it must not wait for the other.
                action = self._later.get_nowait()
            except queue.Empty:
                return
            self._chores.do('letting go', action, None)
