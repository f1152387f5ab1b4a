"""Eviction: ended sessions are removed to make room for new ones and for live streams.

``shares`` decides which owner loses its oldest session. Of that owner's sessions, those
that nobody maps are removed first, because they give their memory back at once. A
mapped session becomes gone (``gone``), and holds its memory until it is mapped no more.
So mapped sessions are evicted only until they hold as many bytes as are short.

Only an attempt to remove a session shows whether it is mapped, and costs some ten
system calls. So one pass tries at most ``_PROBES`` mapped sessions in vain, and the
next pass goes on from there. The oldest session is tried first, and one that was found
mapped is tried again after all others.

Live streams may take the published room at any moment, and the supervisor sees that
only when it measures them again. So a part of the room is not published, but kept for
new sessions::

    limit   |   measured   |     published: live streams    | kept |
                                                              new sessions

Once the kept part is used up, all live sessions are measured for each new session, so
that the room is known, and a session that does not fit is refused. An extent that is
taken during a measurement may be missed, and is counted by the next one. Until then the
limit may be exceeded by one extent for each writer that was taking one.
"""

from __future__ import annotations

import os
from collections.abc import Callable

from shmstream.errors import NoRoom
from shmstream.memory.directory import RuntimeDirectory
from shmstream.memory.reservation import FIRST_EXTENT
from shmstream.memory.worker_table import WorkerTable
from shmstream.ring.layout import HEADER_BYTES, W_OWNER_ROOM
from shmstream.supervisor.config import SupervisorConfig
from shmstream.supervisor.gone import Gone, remove
from shmstream.supervisor.holdings import Holding, Holdings
from shmstream.supervisor.session import Key, Session
from shmstream.supervisor.shares import Shares

_NEED = HEADER_BYTES + FIRST_EXTENT
"""Bytes that a new session needs."""

_SPARE = 256 * 1024
"""Bytes of the file system that are never given to streams."""

_KEPT = 16
"""One sixteenth of the room is kept for new sessions."""

_PROBES = 256
"""Mapped sessions that one pass tries in vain, at the most."""


class Eviction:
    """Makes room, and publishes how much there is.

    Args:
        directory: the runtime directory.
        config: the limits; ``max_memory`` must not be 0.
        table: the worker table, where the room is published.
        holdings: the sessions and the memory of each owner.
        gone: the gone segments.
        evict: evicts an ended session, and drops it from the holdings.
        forget: drops from the holdings a session whose file has been removed.
    """

    def __init__(
        self,
        directory: RuntimeDirectory,
        config: SupervisorConfig,
        table: WorkerTable,
        holdings: Holdings,
        gone: Gone,
        *,
        evict: Callable[[Session], None],
        forget: Callable[[Session], None],
    ) -> None:
        self._directory = directory
        self._config = config
        self._table = table
        self._holdings = holdings
        self._gone = gone
        self._evict = evict
        self._forget = forget
        self._shares = Shares(config)
        self._kept = 0
        self._probes = _PROBES

    def make_room(self, key: Key, replaced: Session | None) -> None:
        """Evict ended sessions until there is room for one more session.

        Args:
            key: the key of the session to be made.
            replaced: the session that it replaces; None: none.

        Raises:
            NoRoom: the owner has used up its share, or no session can be evicted.
        """
        owner = key[0]
        if self._kept < _NEED:
            self._holdings.measure()
        if self._refusal(owner, replaced) is not None:
            # Since the last measurement some of the owner's streams may have ended, and
            # some of its gone segments may be mapped no more.
            self._holdings.measure_of(owner)
            self._gone.look()
            if (what := self._refusal(owner, replaced)) is not None:
                raise self.refused(f'no room: {what}', 'owner')
        self._probes = _PROBES
        looked = False
        while (lack := self._lack(owner, replaced)) is not None:
            cause, what, free = lack
            if free():
                continue
            if looked:
                raise self.refused(f'no room: {what} are in use and none can go', cause)
            self._holdings.measure()
            looked = True

    def _lack(
        self, owner: bytes, replaced: Session | None
    ) -> tuple[str, str, Callable[[], bool]] | None:
        """Say what one more session lacks, and return a function that frees some of it.

        Returns:
            None if it lacks nothing.
        """
        asker = self._holdings.of(owner)
        # The replaced session frees a place, unless it has been evicted meanwhile.
        count = self._holdings.sessions + (replaced is None or replaced not in asker)
        short = self._shares.excess(self._owners(owner), asker.held + _NEED)
        if short:
            share = f'{asker.held} bytes of this owner'
            return (
                'owner',
                share,
                lambda: self._gone.look() or self._take_from([asker], short),
            )
        shortage = self._shares.shortage(count, self._used + _NEED)
        if shortage is None:
            return None
        if count > self._config.max_sessions:
            # An evicted session's place is free at once, even if it is mapped.
            return 'sessions', shortage, lambda: self._free_place(owner)
        short = self._used + _NEED - self._config.max_memory
        return (
            'memory',
            shortage,
            lambda: self._free_memory(owner, short, self._shares.usable),
        )

    def refused(self, why: str, cause: str = 'system') -> NoRoom:
        """Return the refusal; its ``soon`` says whether to ask again in a moment.

        Args:
            why: the text.
            cause: what is used up, as ``NoRoom.cause``.
        """
        error = NoRoom(why)
        error.cause = cause
        # If this pass could not try all sessions, the next pass goes on from there.
        error.soon = self._gone.soon or not self._probes
        return error

    def evict_for(self, owner: bytes) -> bool:
        """Evict a session because the file system is full; False if none can go."""
        self._probes = _PROBES
        # The file system has nothing left to share: no owner's equal part is spared.
        if self._free_memory(owner, _NEED, 0):
            return True
        self._holdings.measure()
        return self._free_memory(owner, _NEED, 0)

    @property
    def _used(self) -> int:
        return self._holdings.memory + self._gone.memory

    def _owners(self, asker: bytes | None = None) -> int:
        """The number of owners with sessions or gone segments, the asker included."""
        others = self._gone.owners if asker is None else {*self._gone.owners, asker}
        return len(self._holdings) + sum(o not in self._holdings for o in others)

    def _free_place(self, owner: bytes) -> bool:
        losers = self._shares.losers_of_sessions(
            self._owners(owner), self._holdings.of(owner), self._holdings.all()
        )
        if not losers:
            return False
        self._evict(losers[0].oldest())
        return True

    def _free_memory(self, owner: bytes, short: int, there: int) -> bool:
        if self._gone.look():
            return True
        losers = self._shares.losers_of_memory(
            self._owners(owner),
            self._holdings.of(owner),
            self._holdings.all(),
            _NEED,
            there,
        )
        return self._take_from(losers, short)

    def _take_from(self, losers: list[Holding], short: int) -> bool:
        """Evict one session of the losers; False if none can or should be.

        The first loser with an unmapped session loses it. If all are mapped, the first
        loser's oldest becomes gone, unless its gone segments will free enough.

        Args:
            losers: the holdings that may lose a session, the first to lose first.
            short: the bytes that are short.
        """
        if any(self._remove_one(loser) for loser in losers):
            return True
        first = next((loser for loser in losers if loser.can_lose), None)
        if first is None or first.gone >= short:
            return False
        self._evict(first.oldest())
        return True

    def _remove_one(self, loser: Holding) -> bool:
        for _ in range(min(len(loser.to_try), self._probes)):
            session = next(iter(loser.to_try))
            path = self._directory.segment(session.file)
            if remove(path, self._gone.counts):
                self._forget(session)
                return True
            loser.to_try.move_to_end(session)
            self._probes -= 1
        return False

    def _refusal(self, owner: bytes, replaced: Session | None) -> str | None:
        holding = self._holdings.of(owner)
        live, firm = holding.live_sessions + 1, holding.firm + _NEED
        if replaced is not None and replaced in holding.live:
            live, firm = live - 1, firm - replaced.held
        return self._shares.refusal(self._owners(owner), live, firm)

    def made(self, session: Session) -> None:
        """Note a new session: the published room shrinks by the bytes that it holds."""
        self._table.reduce_room(session.held)
        self._kept = max(self._kept - session.held, 0)
        holding = self._holdings.of(session.key[0])
        word = self._room_of(holding, self._owners(), self._table.room)
        # Once the kept part is used up, the new session takes from the room that was
        # published for its owner's other live streams. So that room is published anew.
        for told in holding.live if self._kept < _NEED else (session,):
            told.words[W_OWNER_ROOM] = word
        holding.bound = holding.bound or bool(word)

    def look(self) -> None:
        """Measure, evict to keep an eighth free for live streams, publish the room."""
        self._table.measure_room()
        self._holdings.measure()
        self._gone.look()
        self._probes = _PROBES
        limit = self._config.max_memory
        stuck: set[Holding] = set()
        owners, holdings = self._owners(), self._holdings.all()
        while True:
            free = self._free()
            found = self._shares.loser_to_growth(
                owners, holdings, self._used, free, stuck
            )
            if found is None:
                break
            loser, short = found
            if not self._take_from([loser], short):
                stuck.add(loser)
        room = max(min(limit - self._used, free), 0)
        self._kept = room // _KEPT
        room -= self._kept
        # The owners' rooms are written before the room is published: a process that
        # sees the new room begins to count anew, for each owner too.
        for holding in self._holdings.all():
            word = self._room_of(holding, owners, room)
            if word or holding.bound:
                for session in holding.live:
                    session.words[W_OWNER_ROOM] = word
                holding.bound = bool(word)
        self._table.publish_room(room)

    def _room_of(self, holding: Holding, owners: int, room: int) -> int:
        """The word for an owner's live streams: bytes + 1; 0: no limit of its own."""
        rest = self._shares.growth(owners, holding)
        return rest + 1 if rest is not None and rest < room else 0

    def _free(self) -> int:
        """Bytes that the file system has left, less a reserve for other files."""
        try:
            room = os.statvfs(self._directory.path)
        except FileNotFoundError:
            return 0
        return room.f_bavail * room.f_frsize - _SPARE
