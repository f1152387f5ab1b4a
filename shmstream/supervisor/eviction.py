"""Room for what is to come: what has ended goes for it.

Whose oldest goes, ``shares`` decides. Of that owner's, what nobody maps goes first: it
gives its memory back at once. What somebody maps is put aside (``gone``), and holds its
memory until the last one lets go: so no more of it goes than is short.

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
from itertools import islice

from shmstream.errors import NoRoom
from shmstream.memory.directory import RuntimeDirectory
from shmstream.memory.extents import FIRST_EXTENT
from shmstream.memory.table import WorkerTable
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

_PROBES = 32
"""How many finished sessions are tried for one that nobody maps."""


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
        looked = False
        while True:
            # Its own oldest, which goes first, may be the one that is replaced.
            replaces = replaced is not None and replaced in self._holdings.of(owner)
            count = self._holdings.sessions + (not replaces)
            what = self._shares.shortage(count, self._used + _NEED)
            if what is None:
                return
            if count > self._config.max_sessions:
                # A place is free at once, whoever reads what had it.
                made = self._free_place(owner)
            else:
                short = self._used + _NEED - self._config.max_memory
                made = self._free_memory(owner, short)
            if made:
                continue
            if looked:
                raise self.refused(f'no room: {what} are in use and none can go')
            self._holdings.measure()
            looked = True

    def refused(self, why: str) -> NoRoom:
        """Return the refusal, with a word on whether to ask again at once."""
        error = NoRoom(why)
        error.soon = self._gone.soon
        return error

    def evict_for(self, owner: bytes) -> bool:
        """Have something go for a session's memory; False if nothing can."""
        if self._free_memory(owner, _NEED):
            return True
        self._holdings.measure()
        return self._free_memory(owner, _NEED)

    @property
    def _used(self) -> int:
        return self._holdings.memory + self._gone.memory

    def _free_place(self, owner: bytes) -> bool:
        loser = self._loser(owner, of_memory=False)
        if loser is None:
            return False
        self._evict(loser.oldest())
        return True

    def _free_memory(self, owner: bytes, short: int) -> bool:
        if self._gone.look():
            return True
        loser = self._loser(owner, of_memory=True)
        return loser is not None and self._take_from(loser, short)

    def _loser(self, owner: bytes, *, of_memory: bool) -> Holding | None:
        asker = self._holdings.of(owner)
        return self._shares.loser(
            asker, self._holdings.all(), _NEED, of_memory=of_memory
        )

    def _take_from(self, loser: Holding, short: int) -> bool:
        """Have one session go where so many bytes are short; False if none should."""
        for session in islice(loser.ended, _PROBES):
            if remove(self._directory.segment(session.digest)):
                self._forget(session)
                return True
        if self._gone.memory >= short:
            return False
        self._evict(loser.oldest())
        return True

    def _refusal(self, owner: bytes, replaced: Session | None) -> str | None:
        holding = self._holdings.of(owner)
        live = holding.live_sessions + 1
        memory = holding.live_memory + self._gone.memory_of(owner) + _NEED
        if replaced is not None and replaced in holding.live:
            live, memory = live - 1, memory - replaced.held
        # The asker may be an owner of whom there is nothing yet.
        several = self._several(self._holdings.owners + (not holding.sessions))
        return self._shares.refusal(several, live, memory)

    def _several(self, owners: int) -> bool:
        return self._config.several_owners or owners > 1

    def made(self, session: Session) -> None:
        """A session has been made: what was said of room is that much less now."""
        self._table.reduce_room(session.held)
        self._kept = max(self._kept - session.held, 0)
        holding = self._holdings.of(session.key[0])
        word = self._room_of(holding, self._table.room)
        session.words[W_OWNER_ROOM] = word
        holding.bound = holding.bound or bool(word)

    def look(self) -> None:
        """Measure, keep an eighth free for live streams to grow, publish the rest."""
        self._holdings.measure()
        self._gone.look()
        several = self._several(self._holdings.owners)
        limit, usable = self._config.max_memory, self._shares.usable
        while True:
            free = self._free()
            loser = self._shares.loser_to_growth(
                several, self._holdings.all(), self._used, free
            )
            short = max(self._used - usable, limit - usable - free)
            if loser is None or not self._take_from(loser, short):
                break
        room = max(min(limit - self._used, free), 0)
        self._kept = room // _KEPT
        room -= self._kept
        # Before the room: whoever sees that figure begins to count anew.
        for holding in self._holdings.all():
            word = self._room_of(holding, room)
            if word or holding.bound:
                for session in holding.live:
                    session.words[W_OWNER_ROOM] = word
                holding.bound = bool(word)
        self._table.publish_room(room)

    def _room_of(self, holding: Holding, room: int) -> int:
        """What an owner's streams are told: bytes and one; 0: as many as there are."""
        if not self._several(self._holdings.owners):
            return 0
        held = holding.live_memory + self._gone.memory_of(holding.owner)
        rest = max(self._shares.of_memory(True) - held, 0)
        return rest + 1 if rest < room else 0

    def _free(self) -> int:
        """Bytes that the file system has left, less what others must not miss."""
        try:
            room = os.statvfs(self._directory.path)
        except FileNotFoundError:
            return 0
        return room.f_bavail * room.f_frsize - _SPARE
