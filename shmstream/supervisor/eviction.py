"""Room for what is to come: what has ended goes for it.

Whose oldest goes, ``shares`` decides. Of that owner's, what nobody maps goes first: it
gives its memory back at once. What somebody maps is put aside (``gone``), and holds its
memory until the last one lets go: so no more of it goes than is short.

To find what nobody maps is to try, some ten system calls each. So a pass tries no more
than ``_PROBES`` that are mapped, and the next one goes on from there: each has its
turn. The oldest is tried first, and what was found mapped after all others.

What is published of room, live streams may take at any moment, and it is known only
when they are measured again. So a part of it is not published but kept for new
sessions::

    limit   |   measured   |     published: live streams    | kept |
                                                              new sessions

Once that is used up, all that is live is measured for each new session: what is there
is known then, and one that does not fit is refused. An extent that is being taken while
it is measured is missed by both, and counts from the next time on: for as long, the
limit may be exceeded by one extent for each writer that is in the midst of that.
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
_SPARE = 256 * 1024

_KEPT = 16
"""One part in so many of what is left is kept for new sessions."""

_PROBES = 256
"""How many sessions that somebody maps are tried in vain in one pass."""


class Eviction:
    """Makes room, and says how much there is.

    Args:
        directory: where the sessions are.
        config: the limits; ``max_memory`` must be resolved.
        table: where it is said.
        holdings: what there is.
        gone: what there was, and is still mapped.
        evict: removes a session that has ended, from the holdings too.
        forget: takes one whose file has been removed from the holdings.
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
        """Have what has ended go until there is room for one session more.

        Args:
            key: of the session to be made.
            replaced: the one whose place it takes.

        Raises:
            NoRoom: its owner has its share, or nothing can go.
        """
        owner = key[0]
        if self._kept < _NEED:
            self._holdings.measure()
        if self._refusal(owner, replaced) is not None:
            # Some of it may have ended just now, or been let go of.
            self._holdings.measure_of(owner)
            self._gone.look()
            if (what := self._refusal(owner, replaced)) is not None:
                raise self.refused(f'no room: {what}')
        self._probes = _PROBES
        looked = False
        while (lack := self._lack(owner, replaced)) is not None:
            what, free = lack
            if free():
                continue
            if looked:
                raise self.refused(f'no room: {what} are in use and none can go')
            self._holdings.measure()
            looked = True

    def _lack(
        self, owner: bytes, replaced: Session | None
    ) -> tuple[str, Callable[[], bool]] | None:
        """Say what one session more lacks, and what frees some of it."""
        asker = self._holdings.of(owner)
        # Its own oldest, which goes first, may be the one that is replaced.
        count = self._holdings.sessions + (replaced is None or replaced not in asker)
        short = self._shares.excess(self._owners(owner), asker.held + _NEED)
        if short:
            share = f'{asker.held} bytes of this owner'
            return share, lambda: self._gone.look() or self._take_from([asker], short)
        shortage = self._shares.shortage(count, self._used + _NEED)
        if shortage is None:
            return None
        if count > self._config.max_sessions:
            # A place is free at once, whoever reads what had it.
            return shortage, lambda: self._free_place(owner)
        short = self._used + _NEED - self._config.max_memory
        return shortage, lambda: self._free_memory(owner, short, self._shares.usable)

    def refused(self, why: str) -> NoRoom:
        """Return the refusal, with a word on whether to ask again at once."""
        error = NoRoom(why)
        # Where not all could be tried, the next pass goes on.
        error.soon = self._gone.soon or not self._probes
        return error

    def evict_for(self, owner: bytes) -> bool:
        """Have something go that the file system has no room for; False if none can."""
        self._probes = _PROBES
        # Nobody is sure of what is not there.
        if self._free_memory(owner, _NEED, 0):
            return True
        self._holdings.measure()
        return self._free_memory(owner, _NEED, 0)

    @property
    def _used(self) -> int:
        return self._holdings.memory + self._gone.memory

    def _owners(self, asker: bytes | None = None) -> int:
        """Of how many there is anything, be it gone; and the asker."""
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
        """Have one session go where so many bytes are short; False if none should.

        Of the first one who has something that nobody maps. If none has, something of
        the first is put aside, unless enough of it is gone and will come free.
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
            if remove(self._directory.segment(session.file)):
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
        """A session has been made: what was said of room is that much less now."""
        self._table.reduce_room(session.held)
        self._kept = max(self._kept - session.held, 0)
        holding = self._holdings.of(session.key[0])
        word = self._room_of(holding, self._owners(), self._table.room)
        # Beyond what is kept for new ones it is what its owner's others were told of.
        for told in holding.live if self._kept < _NEED else (session,):
            told.words[W_OWNER_ROOM] = word
        holding.bound = holding.bound or bool(word)

    def look(self) -> None:
        """Measure, keep an eighth free for live streams to grow, publish the rest."""
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
        # Before the room: whoever sees that figure begins to count anew.
        for holding in self._holdings.all():
            word = self._room_of(holding, owners, room)
            if word or holding.bound:
                for session in holding.live:
                    session.words[W_OWNER_ROOM] = word
                holding.bound = bool(word)
        self._table.publish_room(room)

    def _room_of(self, holding: Holding, owners: int, room: int) -> int:
        """What an owner's streams are told: bytes and one; 0: as many as there are."""
        rest = self._shares.growth(owners, holding)
        return rest + 1 if rest is not None and rest < room else 0

    def _free(self) -> int:
        """Bytes that the file system has left, less what others must not miss."""
        try:
            room = os.statvfs(self._directory.path)
        except FileNotFoundError:
            return 0
        return room.f_bavail * room.f_frsize - _SPARE
