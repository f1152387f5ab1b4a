"""The index over the directory: each session that is there, by all that finds one."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from shmstream.memory.worker_table import WorkerTable
from shmstream.supervisor.deaths import Deaths
from shmstream.supervisor.holdings import Holdings
from shmstream.supervisor.names import Names
from shmstream.supervisor.session import Key, Session


class Index:
    """Finds sessions: by key, by name, by owner (``holdings``), by worker (``deaths``).

    Whatever is added or dropped is so in all of them at once.

    Args:
        table: the workers that produce them.
        gone_of: says what is gone of an owner, and still mapped.

    Attributes:
        holdings: what there is of each owner.
        deaths: which live streams to look at.
    """

    def __init__(self, table: WorkerTable, gone_of: Callable[[bytes], int]) -> None:
        self._sessions: dict[Key, Session] = {}
        self._kept: dict[Key, Session] = {}
        self._names = Names()
        self.deaths = Deaths(table)
        self.holdings = Holdings(self.deaths.drop, gone_of)

    def __len__(self) -> int:
        return len(self._sessions) + len(self._kept)

    def __contains__(self, session: Session) -> bool:
        return session in (self.get(session.key), self.kept(session.key))

    def add(self, session: Session) -> None:
        """Add a session; nothing may be there under its key."""
        owner, conv_id = session.key
        self._sessions[session.key] = session
        self._names.add(owner, conv_id)
        self.holdings.add(session)
        self.deaths.add(session)

    def drop(self, session: Session) -> None:
        """Drop a session that is there."""
        if self._kept.get(session.key) is session:
            del self._kept[session.key]
        else:
            self._unname(session)
        self.holdings.drop(session)
        self.deaths.drop(session)

    def _unname(self, session: Session) -> None:
        owner, conv_id = session.key
        del self._sessions[session.key]
        self._names.remove(owner, conv_id)

    def add_kept(self, session: Session) -> None:
        """Add a session that is kept (``predecessors``)."""
        self._kept[session.key] = session
        self.holdings.add(session)
        self.deaths.add(session)

    def set_aside(self, session: Session) -> None:
        """Keep a session that is there: another one is found by its key from now on."""
        self._unname(session)
        self._kept[session.key] = session

    def put_back(self, session: Session) -> None:
        """Find a session that is kept by its key again; nothing may be there."""
        del self._kept[session.key]
        self._sessions[session.key] = session
        self._names.add(*session.key)

    def kept(self, key: Key) -> Session | None:
        """Return what is kept of this key."""
        return self._kept.get(key)

    def kept_keys(self) -> list[Key]:
        """Return the keys of which something is kept."""
        return list(self._kept)

    def get(self, key: Key) -> Session | None:
        """Return the session with this key."""
        return self._sessions.get(key)

    def all(self) -> list[Session]:
        """Return every session of every owner, but for what is kept."""
        return list(self._sessions.values())

    def found_by(self, owner: bytes, conv_ids: Iterable[str]) -> list[Key]:
        """Return the key of each session that a look-up of these ids finds (``names``).

        In the order asked; none twice, however many ids find it.
        """
        return [(owner, name) for name in self._names.found_by(owner, conv_ids)]
