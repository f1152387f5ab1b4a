"""``ThisProcess`` ties together all parts of one process's part in a deployment."""

from __future__ import annotations

import atexit
import os
import threading
import weakref
from collections.abc import Callable

from shmstream.errors import SupervisorUnavailable
from shmstream.memory.directory import RuntimeDirectory
from shmstream.memory.mappings import Mappings
from shmstream.memory.room_share import RoomShare
from shmstream.metrics.counts import Counts
from shmstream.process.doorbell_chores import DoorbellChores
from shmstream.process.host import Host
from shmstream.process.live_producers import LiveProducers
from shmstream.process.local_followers import LocalFollowers
from shmstream.process.membership_holder import MembershipHolder
from shmstream.process.room_requests import RoomRequests
from shmstream.process.supervisor_link import SupervisorLink
from shmstream.process.telling import tell
from shmstream.supervisor.config import SupervisorConfig
from shmstream.wakeups.doorbell_thread import NET_S
from shmstream.wakeups.ring_others import Bells
from shmstream.weakly import weakly

_alive: weakref.WeakSet[ThisProcess] = weakref.WeakSet()
_with_a_slot: set[ThisProcess] = set()
"""Kept alive until they have left: only leaving ends their threads and frees slots."""


class ThisProcess:
    """This process's part in one deployment; its attachments share it.

    Args:
        directory: the runtime directory.
        config, masters: as for ``SupervisorLink``.
        host: the server that runs this process.
        leave: closes this process's part if it has no attachments; called in a thread
            of its own.

    Attributes:
        host: the server that runs this process.
        attachments: one token for each attachment; without any, the process leaves.
        link: the connection to the supervisor.
        holder: holds the membership, once there is one.
        producers: the live producers of this process.
        followers: the followers of this process.
        mappings: the segments that are mapped here.
        counts: what this process counts in.
    """

    def __init__(
        self,
        directory: RuntimeDirectory,
        config: SupervisorConfig | None,
        masters: Callable[[], list[int]],
        host: Host,
        leave: Callable[[ThisProcess], object],
    ) -> None:
        self.directory = directory
        self.host = host
        self.attachments: set[object] = set()
        self._leave = leave
        self._leaving_now: threading.Thread | None = None
        self._room_requests = RoomRequests(directory)
        on_wake = weakly(self._on_wake, NET_S)
        self.counts = counts = Counts()
        holder = MembershipHolder(directory, on_wake, self._room_requests, counts)
        self.holder = holder
        take_slot = weakly(self._take_slot, None)
        self.link = SupervisorLink(directory, config, masters, holder, take_slot)
        self.producers = LiveProducers()
        self.mappings = Mappings(directory.sessions, lambda: holder.free_bytes)
        self._chores = DoorbellChores(
            holder,
            self.producers,
            self.mappings,
            self._room_requests,
            host.leaving,
            weakly(self.link.look, None),
            weakly(self._leave_unused, None),
            weakly(self._tell, None),
        )
        self.followers = LocalFollowers(holder, self.link.connect, self._chores.later)
        self._pid = os.getpid()
        # Reentrant: a signal handler may call ``close`` while it interrupts ``close``.
        self._closing = threading.RLock()
        self._closed = False
        self._has_left = False
        _alive.add(self)

    # -- connecting ------------------------------------------------------------------

    def connect(self) -> None:
        """Get a membership if there is none; raises as ``SupervisorLink.connect``."""
        self.link.connect()

    def supervise(
        self, config: SupervisorConfig, masters: Callable[[], list[int]]
    ) -> None:
        """Start supervisors with ``config`` from now on, unless a config is known."""
        if self.link.supervise(config, masters):
            # A running supervisor does not know these masters, and a process that only
            # follows never sends it a request: the doorbell's thread names them to it.
            self._chores.look_soon()

    def _take_slot(self, slot: int, epoch: int) -> None:
        now = self.holder.now
        if now is not None and now.is_at(slot, epoch):
            return
        if self._closed:
            raise SupervisorUnavailable('this process has left')
        _with_a_slot.add(self)
        try:
            self.holder.take(slot, epoch, self.mappings.everything)
        finally:
            if self.holder.now is None:
                _with_a_slot.discard(self)

    # -- what its producers need of it (``producer_needs.Process``) ------------------

    @property
    def here(self) -> bool:
        """Whether the caller runs in the process that made this, and not in a fork."""
        return self._pid == os.getpid()

    @property
    def bells(self) -> Bells:
        """The bells of other processes.

        Raises:
            SupervisorUnavailable: this process has left.
        """
        return self.holder.require().bells

    @property
    def room(self) -> RoomShare:
        """This process's share of the memory.

        Raises:
            SupervisorUnavailable: this process has left.
        """
        return self.holder.require().room

    def later(self, action: Callable[[], object]) -> None:
        """Make the doorbell's thread run ``action``; may be called by ``__del__``."""
        self._chores.later(action)

    def _tell(self) -> None:
        tell(self.counts, self.producers, self.followers, self.holder, self.host)

    # -- leaving ---------------------------------------------------------------------

    @property
    def closed(self) -> bool:
        """Whether this process has left: nobody drives its hubs any more."""
        return self._closed

    def _on_wake(self, rung: bool) -> float:
        return self._chores.on_wake()

    def _leave_unused(self) -> None:
        # The process leaves in another thread: leaving waits for the end of the
        # doorbell's thread, which calls this method.
        if self._closed:
            return
        if not self.attachments and self._leaving_now is None:
            thread = threading.Thread(
                target=self._leave, args=(self,), name='shmstream-leaving'
            )
            thread.start()
            self._leaving_now = thread
        elif self._leaving_now is not None and not self._leaving_now.is_alive():
            # That thread has ended without leaving: there was a new attachment.
            self._leaving_now = None

    def abandon(self) -> None:
        """Forget everything after a fork: it is the parent's."""
        # Another thread of the parent may have held the lock.
        self._closing = threading.RLock()
        self.followers.abandon()
        _with_a_slot.discard(self)
        self.holder.abandon()
        self._closed = True
        self.mappings.clear()
        self.link.abandon()
        self.producers.abandon()

    def close(self) -> None:
        """Leave the deployment; abort all producers that have not ended.

        Returns when the process has left, also if another thread makes it leave.
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
        self.link.stop()
        self.producers.abort()
        self._chores.do_later()
        self._tell()
        self.holder.stop()
        self._room_requests.join()
        # The slot is given back before the connection is closed: when the connection
        # ends, the supervisor looks whether the slot is free.
        self.holder.leave()
        self.mappings.clear()
        self.link.close()


def _abandon_all() -> None:
    for process in list(_alive):
        process.abandon()


def _close_all() -> None:
    for process in list(_alive):
        if process.here:
            process.close()


os.register_at_fork(after_in_child=_abandon_all)
# The doorbell's thread must be joined before the interpreter shuts down.
atexit.register(_close_all)
