"""The index of all sessions in the directory, by everything that finds one."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from shmstream.memory.worker_table import WorkerTable
from shmstream.supervisor.deaths import Deaths
from shmstream.supervisor.holdings import Holdings
from shmstream.supervisor.session import Key, Session
from shmstream.supervisor.session_ids import SessionIds


class Index:
    """Finds sessions by key, by name, by owner (``holdings``), by worker (``deaths``).

    A session is added to all of these together, and dropped from all of them.

    Args:
        table: the worker table.
        gone_of: returns the bytes of an owner's gone segments (``gone``).

    Attributes:
        holdings: the sessions and the memory of each owner.
        deaths: the live sessions, to be checked for dead producers.
    """

    def __init__(self, table: WorkerTable, gone_of: Callable[[bytes], int]) -> None:
        self._sessions: dict[Key, Session] = {}
        self._ids = SessionIds()
        self.deaths = Deaths(table)
        self.holdings = Holdings(self.deaths.drop, gone_of)

    def __len__(self) -> int:
        return len(self._sessions)

    def __contains__(self, session: Session) -> bool:
        return self._sessions.get(session.key) is session

    def add(self, session: Session) -> None:
        """Add a session; no other session may have its key."""
        owner, conv_id = session.key
        self._sessions[session.key] = session
        self._ids.add(owner, conv_id)
        self.holdings.add(session)
        self.deaths.add(session)

    def drop(self, session: Session) -> None:
        """Drop a session that is there."""
        owner, conv_id = session.key
        del self._sessions[session.key]
        self._ids.remove(owner, conv_id)
        self.holdings.drop(session)
        self.deaths.drop(session)

    def get(self, key: Key) -> Session | None:
        """Return the session with this key."""
        return self._sessions.get(key)

    def all(self) -> list[Session]:
        """Return every session of every owner."""
        return list(self._sessions.values())

    def found_by(self, owner: bytes, conv_ids: Iterable[str]) -> list[Key]:
        """Return the key of each session that a look-up of these ids finds (``names``).

        The keys are in the order of the ids; each key is returned once.
        """
        return [(owner, name) for name in self._ids.found_by(owner, conv_ids)]
