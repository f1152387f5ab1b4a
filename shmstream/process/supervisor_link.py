"""The connection to the supervisor, and whom the supervisor works for in our name."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable

from shmstream import clock
from shmstream.control.client import CONNECT_S, FIRST_CONNECT_S, ControlClient
from shmstream.control.wire import Message
from shmstream.memory.directory import RuntimeDirectory
from shmstream.process.membership import MembershipHolder
from shmstream.process.respawn import Respawner
from shmstream.supervisor.config import SupervisorConfig
from shmstream.weakly import weakly


class SupervisorLink:
    """Keeps a supervisor there, and one connection to it; thread-safe.

    Args:
        directory: the runtime directory.
        config: what to start a supervisor with if there is none yet; None: as its
            predecessor was, and only if there was one.
        masters: the processes that keep the deployment alive, as this process sees it
            now; empty when it has been orphaned and must not start a supervisor.
        holder: the membership that the supervisor is told of.
        on_slot: takes the slot and the epoch that the supervisor has given us.

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
        # The masters that the last greeting named, and those that were then answered.
        self._masters_greeted: set[int] = set()
        self._masters_known: set[int] = set()
        self._lock = threading.RLock()

    def connect(self) -> None:
        """Have a membership, and have the supervisor know our masters.

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
        """Start supervisors with this from now on; False if there is a config."""
        with self._lock:
            if self._config is not None:
                return False
            self._config, self._masters = config, masters
            self._respawner.supervise(config, masters)
        return True

    def look(self) -> None:
        """Connect again, aside, if the supervisor has gone or misses a master."""
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
        """Start no supervisor any more, and wait for what is under way."""
        self._respawner.close()

    def close(self) -> None:
        """End the connection: the supervisor takes it that this process has ended."""
        self.client.close()

    def abandon(self) -> None:
        """Close our copy after a fork; the parent keeps its own."""
        # Another thread of the parent may have held it.
        self._lock = threading.RLock()
        self.client.abandon()
