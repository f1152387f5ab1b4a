"""The index of all sessions in the directory, by everything that finds one."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from shmstream.logs.life_line import told
from shmstream.memory.worker_table import WorkerTable
from shmstream.ring.layout import W_STATE
from shmstream.ring.state import State
from shmstream.supervisor.aliases import Aliases
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
        aliases: finds the sessions that are not kept by their second names.
        holdings: the sessions and the memory of each owner.
        deaths: the live sessions, to be checked for dead producers.
    """

    def __init__(self, table: WorkerTable, gone_of: Callable[[bytes], int]) -> None:
        self._sessions: dict[Key, Session] = {}
        self._kept: dict[Key, Session] = {}
        self._ids = SessionIds()
        self.aliases = Aliases()
        self.deaths = Deaths(table)
        self.holdings = Holdings(self._ended, gone_of)

    def _ended(self, session: Session) -> None:
        # Its producer may still die before it has logged the line about the stream.
        if told(session.segment):
            self.deaths.drop(session)

    def __len__(self) -> int:
        return len(self._sessions) + len(self._kept)

    def __contains__(self, session: Session) -> bool:
        return session in (self.get(session.key), self.kept(session.key))

    def add(self, session: Session) -> None:
        """Add a session; no other session may have its key."""
        self._name(session)
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

    def _name(self, session: Session) -> None:
        self._sessions[session.key] = session
        self._ids.add(*session.key)
        self.aliases.add(session)

    def _unname(self, session: Session) -> None:
        del self._sessions[session.key]
        self._ids.remove(*session.key)
        self.aliases.remove(session)

    def add_kept(self, session: Session) -> None:
        """Add a session that is kept; see ``predecessors``."""
        self._kept[session.key] = session
        self.holdings.add(session)
        self.deaths.add(session)

    def set_aside(self, session: Session) -> None:
        """Keep a session. From now on another session may be found by its key."""
        self._unname(session)
        self._kept[session.key] = session

    def put_back(self, session: Session) -> None:
        """Let a kept session be found by its key; no other session may have the key."""
        del self._kept[session.key]
        self._name(session)

    def kept(self, key: Key) -> Session | None:
        """Return the kept session with this key; None if there is none."""
        return self._kept.get(key)

    def kept_keys(self) -> list[Key]:
        """Return the keys of all kept sessions."""
        return list(self._kept)

    def get(self, key: Key) -> Session | None:
        """Return the session with this key."""
        return self._sessions.get(key)

    def all(self) -> list[Session]:
        """Return all sessions of all owners, without the kept ones."""
        return list(self._sessions.values())

    def named(self, conv_id: str, owner: bytes | None) -> list[Key]:
        """Return the keys of the sessions with this id; owner None: of all owners."""
        if owner is not None:
            return [(owner, conv_id)] if self.get((owner, conv_id)) else []
        return [key for key in self._sessions if key[1] == conv_id]

    def after(self, owner: bytes, conv_id: str, most: int) -> list[Key]:
        """Return the keys of an owner's sessions whose ids come after this one."""
        return [(owner, name) for name in self._ids.after(owner, conv_id, most)]

    def states(self) -> list[int]:
        """Return how many sessions, kept ones included, are in each state."""
        numbers = [0] * len(State)
        for sessions in (self._sessions, self._kept):
            for session in sessions.values():
                numbers[session.words[W_STATE]] += 1
        return numbers

    def found_by(self, owner: bytes, conv_ids: Iterable[str]) -> list[Key]:
        """Return the key of each session that a look-up of these ids finds (``names``).

        The keys are in the order of the ids; each key is returned once.
        """
        return [(owner, name) for name in self._ids.found_by(owner, conv_ids)]
