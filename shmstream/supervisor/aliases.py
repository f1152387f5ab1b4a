"""The aliases of sessions: second names, which their producers write.

A producer learns the alias from the answer that it writes (``response.id``), and tells
nobody: it writes the alias into its segment. So no message can be lost, the alias goes
with the file, and a new supervisor finds it there. This index reads the alias of a
session when somebody asks for one, and only until it has been found or cannot come any
more::

    unread    the sessions that may get an alias, or have one that nobody asked for
    found     the sessions with an alias, by owner and alias
"""

from __future__ import annotations

from shmstream.dialects.table import RESPONSES
from shmstream.supervisor.session import Key, Session

_UNKNOWN = 0
"""The number of the dialect until a producer knows it."""


class Aliases:
    """Finds sessions by owner and alias."""

    def __init__(self) -> None:
        self._unread: dict[Session, None] = {}
        self._found: dict[Key, list[Session]] = {}
        # An alias is read once: its word could change if a producer went mad.
        self._keys: dict[Session, Key] = {}

    def add(self, session: Session) -> None:
        """Add a session that is not there."""
        self._unread[session] = None

    def remove(self, session: Session) -> None:
        """Remove a session that is there."""
        self._unread.pop(session, None)
        key = self._keys.pop(session, None)
        if key is not None:
            self._found[key].remove(session)
            if not self._found[key]:
                del self._found[key]

    def find(self, owner: bytes, alias: str) -> Session | None:
        """Return the newest session of this owner with this alias."""
        self._read()
        there = self._found.get((owner, alias), [])
        return max(there, key=Session.asked_at, default=None)

    def _read(self) -> None:
        for session in list(self._unread):
            # The end and the dialect are read first. A producer writes its dialect
            # once, then the alias: none comes after the end, or in another dialect.
            ended = session.reader.producer_state.final
            other = session.segment.dialect not in (_UNKNOWN, RESPONSES.number)
            alias = session.segment.alias
            if alias:
                key = self._keys[session] = (session.key[0], alias)
                self._found.setdefault(key, []).append(session)
            if alias or ended or other:
                del self._unread[session]
