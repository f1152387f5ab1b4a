"""What is there of each owner: what is live, what has ended, and what they hold.

Nothing changes in what has ended: only what is live is measured again, a few times a
second, and by words of its header alone. What has ended stands in the order in which
that was noted, which is the order in which it ended but for what ended at the same
moment: the oldest is found without a look at the others.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Collection, Iterator

from shmstream.ring.layout import W_RESERVED, W_STATE
from shmstream.ring.state import State
from shmstream.supervisor.session import Session, memory_of

_FINAL = int(State.COMPLETE)


class Holding:
    """What one owner holds. ``Holdings`` alone changes it.

    Args:
        owner: whose it is.
        gone_of: says what is gone of an owner, and still mapped.

    Attributes:
        owner: see above.
        live: what may still grow.
        ended: the rest, the oldest first.
        to_try: the same, in the order in which it is tried whether somebody maps it:
            what was found mapped comes after all others.
        memory: bytes of both, as measured last.
        live_memory: bytes of what is live.
        bound: whether its streams have been told how much they may still take.
    """

    def __init__(self, owner: bytes, gone_of: Callable[[bytes], int]) -> None:
        self.owner = owner
        self._gone_of = gone_of
        self.live: dict[Session, None] = {}
        self.ended: OrderedDict[Session, None] = OrderedDict()
        self.to_try: OrderedDict[Session, None] = OrderedDict()
        self.memory = 0
        self.live_memory = 0
        # Nothing is known of what a predecessor told them.
        self.bound = True

    @property
    def sessions(self) -> int:
        """Sessions, live and ended."""
        return len(self.live) + len(self.ended)

    @property
    def gone(self) -> int:
        """Bytes of what is gone of it, and still mapped."""
        return self._gone_of(self.owner)

    @property
    def held(self) -> int:
        """Bytes of everything: live, ended, and gone."""
        return self.memory + self.gone

    @property
    def firm(self) -> int:
        """Bytes that nobody can take from it: live, and gone."""
        return self.live_memory + self.gone

    @property
    def live_sessions(self) -> int:
        """Sessions that are live."""
        return len(self.live)

    @property
    def can_lose(self) -> bool:
        """Whether anything of it has ended."""
        return bool(self.ended)

    def oldest(self) -> Session:
        """What ended first."""
        return next(iter(self.ended))

    def __contains__(self, session: Session) -> bool:
        return session in self.live or session in self.ended


class Holdings:
    """The holdings of all owners.

    Args:
        on_end: called with each session of which it is noted that it has ended.
        gone_of: says what is gone of an owner, and still mapped.

    Attributes:
        sessions: how many there are.
        memory: bytes of all of them, as measured last.
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
        """What this owner holds; nothing, if there is nothing of it."""
        return self._owners.get(owner) or Holding(owner, self._gone_of)

    def __len__(self) -> int:
        return len(self._owners)

    def __contains__(self, owner: bytes) -> bool:
        return owner in self._owners

    def all(self) -> Collection[Holding]:
        """What each owner holds."""
        return self._owners.values()

    def live(self) -> Iterator[Session]:
        """Everything that is live."""
        for holding in self._owners.values():
            yield from holding.live

    def add(self, session: Session) -> None:
        """Count a session, as live: if it has ended, that is noted with the next."""
        holding = self.of(session.key[0])
        self._owners[session.key[0]] = holding
        holding.live[session] = None
        session.held = session.memory()
        holding.memory += session.held
        holding.live_memory += session.held
        self.memory += session.held
        self.sessions += 1

    def drop(self, session: Session) -> None:
        """Count a session no more."""
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
        """Measure what is live, and note what has ended since the last time."""
        for holding in self._owners.values():
            self._measure(holding)

    def measure_of(self, owner: bytes) -> None:
        """The same for what is this owner's."""
        holding = self._owners.get(owner)
        if holding is not None:
            self._measure(holding)

    def _measure(self, holding: Holding) -> None:
        ended = []
        live_memory = grown = 0
        for session in holding.live:
            words = session.words
            # The state first: what has ended holds what it held at its end.
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
