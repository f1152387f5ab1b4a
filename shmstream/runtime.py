"""What one process of the deployment shares: its slot, connection and mappings.

Made lazily and after fork: importing or attaching starts nothing. What is done in the
background, one thread does, the doorbell's::

    Runtime --> ControlClient, Respawner    the connection, and whom it leads to
       |------> Mappings                 segments
       |------> Producers                what is written here
       |------> Seat                     the slot, the doorbell and the hubs
       '------> Duties                   what the doorbell's thread does
"""

from __future__ import annotations

import asyncio
import atexit
import functools
import os
import threading
import weakref
from collections.abc import Callable

from shmstream import clock
from shmstream.control.asker import Asker
from shmstream.control.client import CONNECT_S, FIRST_CONNECT_S, ControlClient
from shmstream.control.wire import Message
from shmstream.duties import Duties
from shmstream.errors import SupervisorUnavailable
from shmstream.memory.directory import RuntimeDirectory
from shmstream.memory.mappings import Mappings
from shmstream.memory.segment import Segment
from shmstream.process.respawn import Respawner
from shmstream.producers import Producers
from shmstream.seat import Seat
from shmstream.supervisor.config import SupervisorConfig
from shmstream.wakeups.doorbell import NET_S
from shmstream.wakeups.hub import Watch
from shmstream.wakeups.loop import LoopHub
from shmstream.wakeups.threads import ThreadHub
from shmstream.weakly import weakly

_alive: weakref.WeakSet[Runtime] = weakref.WeakSet()
_with_a_slot: set[Runtime] = set()
"""Kept until they have left: their threads and their slots go no other way."""


class Runtime:
    """One process's part in the deployment; ``membership`` says who shares it.

    Args:
        directory: the runtime directory.
        config: what to start a supervisor with if there is none yet; None: as its
            predecessor was, and only if there was one.
        masters: the processes that keep the deployment alive, as this process sees it
            now; empty when it has been orphaned and must not start a supervisor.
        leaving: whether this process has been told to stop serving.
        leave: closes the runtime if it has no members; called in a thread of its own.

    Attributes:
        members: a token of each membership (``membership``); without any it leaves.
        client: its connection.
        mappings: the segments that are mapped here.
        producers: those that are being written here.
        seat: its slot.
        followers: how many there are here.
    """

    def __init__(
        self,
        directory: RuntimeDirectory,
        config: SupervisorConfig | None,
        masters: Callable[[], list[int]],
        leaving: Callable[[], bool],
        leave: Callable[[Runtime], object],
    ) -> None:
        self.directory = directory
        self.members: set[object] = set()
        self._leave = leave
        self._leaving_now: threading.Thread | None = None
        self._config = config
        self._masters = masters
        self._respawner = Respawner(directory, config, masters)
        self.leaving = leaving
        self.client = ControlClient(
            directory,
            self._respawner.respawn,
            weakly(self._hello, {}),
            weakly(self._greeted, None),
        )
        # Whom the supervisor works for in our name: as said, and as it has answered.
        self._masters_said: set[int] = set()
        self._masters_told: set[int] = set()
        self._asker = Asker(directory)
        self.seat = Seat(directory, weakly(self._on_wake, NET_S), self._asker)
        self.producers = Producers()
        seat = self.seat
        self.mappings = Mappings(directory.sessions, lambda: seat.free_bytes)
        self._duties = Duties(
            self.seat,
            self.producers,
            self.mappings,
            self._asker,
            leaving,
            weakly(self._keep_supervisor, None),
            weakly(self._leave_unused, None),
        )
        self.followers = 0
        self._pid = os.getpid()
        self._lock = threading.RLock()
        # Reentrant: a signal handler may close what is being closed.
        self._closing = threading.RLock()
        self._closed = False
        self._has_left = False
        _alive.add(self)

    # -- connecting ------------------------------------------------------------------

    def connect(self) -> None:
        """Take a slot and start the doorbell thread, unless that has been done.

        Raises:
            SupervisorUnavailable: no supervisor within the bound of ``ControlClient``.
        """
        if not self.there:
            first = self._config is not None
            self.client.connect(FIRST_CONNECT_S if first else CONNECT_S)
        self._tell_masters()

    def _reconnect(self) -> None:
        self.client.connect()
        self._tell_masters()
        self._respawner.connected()

    def _untold_masters(self) -> list[int]:
        return [pid for pid in self._masters() if pid not in self._masters_told]

    def _tell_masters(self) -> None:
        for pid in self._untold_masters():
            self.client.request('join', pid=pid)
            self._masters_told.add(pid)

    def supervise(
        self, config: SupervisorConfig, masters: Callable[[], list[int]]
    ) -> None:
        """Start supervisors with this from now on, unless there is a config already."""
        with self._lock:
            if self._config is not None:
                return
            self._config, self._masters = config, masters
            self._respawner.supervise(config, masters)
        # A supervisor that is there does not know these masters, and who only follows
        # never asks it for anything: the doorbell's thread has it told.
        self._duties.look_soon()

    @property
    def there(self) -> bool:
        """Whether it has taken a slot, and its doorbell's thread is there as well."""
        return self.seat.whole

    @property
    def closed(self) -> bool:
        """Whether this process has left: nobody drives its hubs any more."""
        return self._closed

    @property
    def here(self) -> bool:
        """Whether this is still the process that the runtime was made in."""
        return self._pid == os.getpid()

    def _hello(self) -> Message:
        masters = self._masters()
        self._masters_said = set(masters)
        return {
            'pid': os.getpid(),
            'masters': masters,
            'slot': self.seat.slot,
            'epoch': self.seat.epoch,
            'time_space': clock.TIME_SPACE,
        }

    def _greeted(self, reply: Message) -> None:
        slot, epoch = int(reply['slot']), int(reply['epoch'])
        self._respawner.connected()
        self._masters_told = self._masters_said
        if self.seat.is_at(slot, epoch):
            return
        if self._closed:
            raise SupervisorUnavailable('this process has left')
        _with_a_slot.add(self)
        try:
            self.seat.take(slot, epoch, self.mappings.everything)
        finally:
            if self.seat.slot is None:
                _with_a_slot.discard(self)

    # -- the doorbell thread ---------------------------------------------------------

    def _on_wake(self, rung: bool) -> float:
        return self._duties.on_wake()

    def later(self, action: Callable[[], object]) -> None:
        """Have the doorbell thread do something; from anywhere, a ``__del__`` too."""
        self._duties.later(action)

    def _keep_supervisor(self) -> None:
        if self.client.gone() or self._untold_masters():
            self._respawner.reconnect(self._reconnect)

    def _leave_unused(self) -> None:
        # Not from here: leaving ends this very thread, and waits for it.
        if self._closed:
            return
        if not self.members and self._leaving_now is None:
            thread = threading.Thread(
                target=self._leave, args=(self,), name='shmstream-leaving'
            )
            thread.start()
            self._leaving_now = thread
        elif self._leaving_now is not None and not self._leaving_now.is_alive():
            # Somebody has joined at the last moment.
            self._leaving_now = None

    def wake_everybody(self) -> None:
        """Have all followers look around: those of one member are to leave."""
        if self.seat.slot is not None:
            self.seat.loop_hubs.poke(False, True)
            # Not here: what a step says of the next is for the thread that steps.
            step = self.seat.thread_hub.step
            self.later(functools.partial(step, everybody=True))

    # -- followers -------------------------------------------------------------------

    async def loop_hub(self) -> LoopHub:
        """Return the hub of the running event loop. Raises as ``connect``."""
        if not self.there:
            await asyncio.to_thread(self.connect)
        return self.seat.loop_hubs.of(asyncio.get_running_loop())

    def drop_follower(
        self, hub: LoopHub | ThreadHub, watch: Watch, counted: bool
    ) -> None:
        """A follower was dropped without ``close``; from a ``__del__``."""
        if self.here:
            self.later(functools.partial(self._forget_follower, hub, watch, counted))

    def _forget_follower(
        self, hub: LoopHub | ThreadHub, watch: Watch, counted: bool
    ) -> None:
        if counted:
            self.count_follower(watch.segment, -1)
        hub.leave_later(watch)

    def count_follower(self, segment: Segment, step: int) -> None:
        """One follower more or less of this segment in this process: publish it."""
        with self._lock:
            self.followers += step
        slot = self.seat.slot
        # Who has left counts for nothing any more.
        if slot is not None:
            segment.followers.add(slot, self.seat.epoch, step)

    def listeners(self, segment: Segment) -> int:
        """Followers of a segment in all live workers."""
        return segment.followers.everywhere(self.seat.table.epoch)

    # -- leaving ---------------------------------------------------------------------

    def abandon(self) -> None:
        """Forget everything after a fork: it is the parent's."""
        # Another thread of the parent may have held it.
        self._lock = threading.RLock()
        self._closing = threading.RLock()
        _with_a_slot.discard(self)
        self.seat.abandon()
        self._closed = True
        self.mappings.clear()
        self.client.abandon()
        self.producers.abandon()

    def close(self) -> None:
        """Leave the deployment; what is still produced here is aborted.

        Returns when that is done, whoever does it.
        """
        self._closed = True
        with self._closing:
            if not self._has_left:
                self._close()
                self._has_left = True
                _with_a_slot.discard(self)
        aside = self._leaving_now
        if aside is not None and aside is not threading.current_thread():
            aside.join()

    def _close(self) -> None:
        self._respawner.close()
        self.producers.abort()
        self._duties.do_later()
        self.seat.stop()
        self._asker.join()
        # Before the connection: whose end makes the supervisor look whether it is.
        self.seat.leave()
        self.mappings.clear()
        self.client.close()


def _abandon_all() -> None:
    for runtime in list(_alive):
        runtime.abandon()


def _close_all() -> None:
    for runtime in list(_alive):
        if runtime.here:
            runtime.close()


os.register_at_fork(after_in_child=_abandon_all)
# Before the interpreter tears down: the doorbell thread must be joined first.
atexit.register(_close_all)
