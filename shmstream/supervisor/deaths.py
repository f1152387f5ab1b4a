"""Which live sessions to check for a dead producer, and when.

A check tries the lock of the segment's file: some ten system calls. When a worker dies,
the kernel ends its connection, and its sessions are checked at once. But its locks may
be released a moment later than its connection. And a producer may end while its process
lives on, if an exception interrupts the producer's end. So a slice of all live sessions
is checked each second. Up to ``SLICE`` live sessions are all checked each second. If
there are more, each session is checked within as many seconds as there are slices.
"""

from __future__ import annotations

from itertools import islice

from shmstream.memory.worker_table import WorkerTable
from shmstream.supervisor.session import Session

SLICE = 4096
"""Sessions checked in one turn: as many as may exist by default."""


class Deaths:
    """The live sessions, by the worker that produces them.

    Args:
        table: the worker table.
    """

    def __init__(self, table: WorkerTable) -> None:
        self._table = table
        self._by_epoch: dict[int, dict[Session, None]] = {}
        self._all: dict[Session, None] = {}

    def add(self, session: Session) -> None:
        """Add a live session."""
        self._all[session] = None
        self._by_epoch.setdefault(session.producer_epoch, {})[session] = None

    def drop(self, session: Session) -> None:
        """Drop a session, if it is there."""
        if session not in self._all:
            return
        del self._all[session]
        epoch = session.producer_epoch
        del self._by_epoch[epoch][session]
        if not self._by_epoch[epoch]:
            del self._by_epoch[epoch]

    def all(self) -> list[Session]:
        """All sessions that are live, or whose line is not logged yet."""
        return list(self._all)

    def of(self, epoch: int) -> list[Session]:
        """The sessions that the worker with this epoch produces."""
        return list(self._by_epoch.get(epoch, ()))

    def due(self) -> list[Session]:
        """The sessions to check in this turn.

        That is a slice of the sessions of each worker that has gone, and a slice of all
        sessions.
        """
        due: dict[Session, None] = {}
        for epoch, sessions in self._by_epoch.items():
            if self._table.slot_of(epoch) is None:
                due.update(_slice(sessions))
        due.update(_slice(self._all))
        return list(due)


def _slice(sessions: dict[Session, None]) -> dict[Session, None]:
    first = dict.fromkeys(islice(sessions, SLICE))
    if len(first) < len(sessions):
        # The sessions of this slice move to the end of the queue.
        for session in first:
            del sessions[session]
        sessions.update(first)
    return first
