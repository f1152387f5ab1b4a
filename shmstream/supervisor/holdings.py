"""The holdings of each owner: its live and its ended sessions, and their memory.

Only live sessions are measured again, a few times a second, by two words of their
headers: an ended session does not change any more. Each measurement sorts the sessions
that have ended since the last one, and appends them. So an owner's ended sessions are
always in the order of their ends, and the oldest is the first.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Collection

from shmstream.ring.layout import W_RESERVED, W_STATE
from shmstream.ring.state import State
from shmstream.supervisor.session import Session, memory_of

_FINAL = int(State.COMPLETE)


class Holding:
    """The sessions and the memory of one owner. Only ``Holdings`` changes it.

    Args:
        owner: the owner's digest.
        gone_of: returns the bytes of an owner's gone segments (``gone``).

    Attributes:
        owner: see above.
        live: the live sessions, which may still grow.
        ended: the ended sessions, the oldest first.
        to_try: the ended sessions, in the order in which eviction tries whether they
            are mapped: one that was found mapped goes to the end.
        memory: bytes of live and ended sessions, as last measured.
        live_memory: bytes of the live sessions.
        bound: whether a limit for this owner may stand in its live streams' segments.
    """

    def __init__(self, owner: bytes, gone_of: Callable[[bytes], int]) -> None:
        self.owner = owner
        self._gone_of = gone_of
        self.live: dict[Session, None] = {}
        self.ended: OrderedDict[Session, None] = OrderedDict()
        self.to_try: OrderedDict[Session, None] = OrderedDict()
        self.memory = 0
        self.live_memory = 0
        # An earlier supervisor may have published a limit.
        self.bound = True

    @property
    def sessions(self) -> int:
        """The number of sessions, live and ended."""
        return len(self.live) + len(self.ended)

    @property
    def gone(self) -> int:
        """Bytes of the owner's gone segments."""
        return self._gone_of(self.owner)

    @property
    def held(self) -> int:
        """Bytes of all its segments: live, ended and gone."""
        return self.memory + self.gone

    @property
    def firm(self) -> int:
        """Bytes that cannot be evicted: of live sessions and of gone segments."""
        return self.live_memory + self.gone

    @property
    def live_sessions(self) -> int:
        """The number of live sessions."""
        return len(self.live)

    @property
    def can_lose(self) -> bool:
        """Whether the owner has ended sessions, which can be evicted."""
        return bool(self.ended)

    def oldest(self) -> Session:
        """The session that ended first."""
        return next(iter(self.ended))

    def __contains__(self, session: Session) -> bool:
        return session in self.live or session in self.ended


class Holdings:
    """The holdings of all owners.

    Args:
        on_end: called with each session that a measurement finds ended.
        gone_of: returns the bytes of an owner's gone segments (``gone``).

    Attributes:
        sessions: the number of all sessions.
        memory: bytes of all sessions, as last measured.
    """

    def __init__(
        self, on_end: Callable[[Session], None], gone_of: Callable[[bytes], int]
    ) -> None:
        self._on_end = on_end
        self._gone_of = gone_of
        self._owners: dict[bytes, Holding] = {}
        self.sessions = 0
        self.memory = 0

    def of(self, owner: bytes) -> Holding:
        """The holding of this owner; an empty one if the owner has no sessions."""
        return self._owners.get(owner) or Holding(owner, self._gone_of)

    def __len__(self) -> int:
        return len(self._owners)

    def __contains__(self, owner: bytes) -> bool:
        return owner in self._owners

    def all(self) -> Collection[Holding]:
        """The holdings of all owners."""
        return self._owners.values()

    def add(self, session: Session) -> None:
        """Add a session as live; if it has ended, the next measurement finds that."""
        holding = self.of(session.key[0])
        self._owners[session.key[0]] = holding
        holding.live[session] = None
        session.held = session.memory()
        holding.memory += session.held
        holding.live_memory += session.held
        self.memory += session.held
        self.sessions += 1

    def drop(self, session: Session) -> None:
        """Drop a session."""
        owner = session.key[0]
        holding = self._owners[owner]
        if session in holding.live:
            del holding.live[session]
            holding.live_memory -= session.held
        else:
            del holding.ended[session]
            del holding.to_try[session]
        holding.memory -= session.held
        self.memory -= session.held
        self.sessions -= 1
        if not holding.sessions:
            del self._owners[owner]

    def measure(self) -> None:
        """Measure all live sessions, and find those that have ended meanwhile."""
        for holding in self._owners.values():
            self._measure(holding)

    def measure_of(self, owner: bytes) -> None:
        """As ``measure``, for the sessions of this owner only."""
        holding = self._owners.get(owner)
        if holding is not None:
            self._measure(holding)

    def _measure(self, holding: Holding) -> None:
        ended = []
        live_memory = grown = 0
        for session in holding.live:
            words = session.words
            # The state is read first: a session that has ended by then does not grow
            # any more, so the memory read next is final.
            final = words[W_STATE] >= _FINAL
            memory = memory_of(words[W_RESERVED])
            if memory != session.held:
                grown += memory - session.held
                session.held = memory
            if final:
                ended.append(session)
            else:
                live_memory += memory
        holding.memory += grown
        holding.live_memory = live_memory
        self.memory += grown
        ended.sort(key=Session.ended_ns)
        for session in ended:
            del holding.live[session]
            holding.ended[session] = holding.to_try[session] = None
            self._on_end(session)
