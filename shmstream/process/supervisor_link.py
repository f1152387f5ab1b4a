"""The connection to the supervisor, and the masters that this process names to it."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable

from shmstream import clock
from shmstream.control.client import CONNECT_S, FIRST_CONNECT_S, ControlClient
from shmstream.control.wire import Message
from shmstream.memory.directory import RuntimeDirectory
from shmstream.process.membership_holder import MembershipHolder
from shmstream.process.respawn import Respawner
from shmstream.supervisor.config import SupervisorConfig
from shmstream.weakly import weakly


class SupervisorLink:
    """Keeps one connection to a supervisor, and starts one if needed; thread-safe.

    Args:
        directory: the runtime directory.
        config: the settings to start a supervisor with; None: those of its predecessor,
            and only if there was one.
        masters: returns the processes that keep the deployment alive, as this process
            sees it now; empty if this process is an orphan, which must not start a
            supervisor.
        holder: holds the membership, which each hello names.
        on_slot: called with the slot and the epoch that the supervisor has given.

    Attributes:
        client: the connection.
    """

    def __init__(
        self,
        directory: RuntimeDirectory,
        config: SupervisorConfig | None,
        masters: Callable[[], list[int]],
        holder: MembershipHolder,
        on_slot: Callable[[int, int], None],
    ) -> None:
        self._config = config
        self._masters = masters
        self._holder = holder
        self._on_slot = on_slot
        self._respawner = Respawner(directory, config, masters)
        self.client = ControlClient(
            directory,
            self._respawner.respawn,
            weakly(self._hello, {}),
            weakly(self._greeted, None),
        )
        # The masters that the last hello named, and those that the supervisor knows.
        self._masters_greeted: set[int] = set()
        self._masters_known: set[int] = set()
        self._lock = threading.RLock()

    def connect(self) -> None:
        """Get a membership if there is none, and name our masters to the supervisor.

        Raises:
            SupervisorUnavailable: no supervisor within the bound of ``ControlClient``.
        """
        if not self._holder.there:
            first = self._config is not None
            self.client.connect(FIRST_CONNECT_S if first else CONNECT_S)
        self._name_masters()

    def supervise(
        self, config: SupervisorConfig, masters: Callable[[], list[int]]
    ) -> bool:
        """Start supervisors with ``config`` from now on.

        Returns:
            False if a config is known already: nothing changes then.
        """
        with self._lock:
            if self._config is not None:
                return False
            self._config, self._masters = config, masters
            self._respawner.supervise(config, masters)
        return True

    def look(self) -> None:
        """Connect again, in a thread of its own, if that is necessary.

        It is if the supervisor has gone, or does not know one of the masters.
        """
        if self.client.gone() or self._unknown_masters():
            self._respawner.reconnect(self._reconnect)

    def _reconnect(self) -> None:
        self.client.connect()
        self._name_masters()
        self._respawner.connected()

    def _unknown_masters(self) -> list[int]:
        return [pid for pid in self._masters() if pid not in self._masters_known]

    def _name_masters(self) -> None:
        for pid in self._unknown_masters():
            self.client.request('join', pid=pid)
            self._masters_known.add(pid)

    def _hello(self) -> Message:
        masters, now = self._masters(), self._holder.now
        self._masters_greeted = set(masters)
        return {
            'pid': os.getpid(),
            'masters': masters,
            'slot': None if now is None else now.slot,
            'epoch': 0 if now is None else now.epoch,
            'time_space': clock.TIME_SPACE,
        }

    def _greeted(self, reply: Message) -> None:
        self._respawner.connected()
        self._masters_known = self._masters_greeted
        self._on_slot(int(reply['slot']), int(reply['epoch']))

    def stop(self) -> None:
        """Start no supervisor any more, and wait for a reconnect that is under way."""
        self._respawner.close()

    def close(self) -> None:
        """End the connection, from which the supervisor sees that this process left."""
        self.client.close()

    def abandon(self) -> None:
        """Close the child's copy of the connection after a fork."""
        # Another thread of the parent may have held the lock.
        self._lock = threading.RLock()
        self._respawner.abandon()
        self.client.abandon()
