"""Which live streams to look at, for whether their producer has died.

To look is to try its lock: to open a file, some ten system calls in all. The kernel
tells when a worker has gone, by the end of its connection, and what it produced is
looked at then. But its locks may be released a moment after the connection, and a
producer can end without its process (an exception in the midst of ending): so these
streams are looked at again and again, a slice each second. Up to ``SLICE`` live streams
all of them are, each second; beyond, one that has ended without its process is found
within as many seconds as there are slices.
"""

from __future__ import annotations

from itertools import islice

from shmstream.memory.worker_table import WorkerTable
from shmstream.supervisor.session import Session

SLICE = 4096
"""Streams looked at in one turn: as many as there are by default."""


class Deaths:
    """Keeps what is live by who produces it.

    Args:
        table: the workers that are there.
    """

    def __init__(self, table: WorkerTable) -> None:
        self._table = table
        self._by_epoch: dict[int, dict[Session, None]] = {}
        self._all: dict[Session, None] = {}

    def add(self, session: Session) -> None:
        """Watch a session."""
        self._all[session] = None
        self._by_epoch.setdefault(session.producer_epoch, {})[session] = None

    def drop(self, session: Session) -> None:
        """Watch it no more, if it is watched."""
        if session not in self._all:
            return
        del self._all[session]
        epoch = session.producer_epoch
        del self._by_epoch[epoch][session]
        if not self._by_epoch[epoch]:
            del self._by_epoch[epoch]

    def of(self, epoch: int) -> list[Session]:
        """What this worker produces."""
        return list(self._by_epoch.get(epoch, ()))

    def due(self) -> list[Session]:
        """What to look at in this turn: of workers that have gone, and of all."""
        due: dict[Session, None] = {}
        for epoch, sessions in self._by_epoch.items():
            if self._table.slot_of(epoch) is None:
                due.update(_slice(sessions))
        due.update(_slice(self._all))
        return list(due)


def _slice(sessions: dict[Session, None]) -> dict[Session, None]:
    first = dict.fromkeys(islice(sessions, SLICE))
    if len(first) < len(sessions):
        # To the end of the queue.
        for session in first:
            del sessions[session]
        sessions.update(first)
    return first
