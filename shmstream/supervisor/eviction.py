"""Room for what is to come: what has ended goes for it, as ``shares`` decides."""

from __future__ import annotations

import os
from collections.abc import Callable

from shmstream.errors import NoRoom
from shmstream.memory.directory import RuntimeDirectory
from shmstream.memory.extents import FIRST_EXTENT
from shmstream.memory.table import WorkerTable
from shmstream.ring.layout import HEADER_BYTES, W_OWNER_ROOM
from shmstream.supervisor.config import SupervisorConfig
from shmstream.supervisor.holdings import Holding, Holdings
from shmstream.supervisor.session import Key, Session
from shmstream.supervisor.shares import Shares

_NEED = HEADER_BYTES + FIRST_EXTENT
_SPARE = 256 * 1024


class Eviction:
    """Makes room, and says how much there is.

    Args:
        directory: where the sessions are.
        config: the limits; ``max_memory`` must be resolved.
        table: where it is said.
        holdings: what there is.
        evict: removes a session that has ended, from the holdings too.
    """

    def __init__(
        self,
        directory: RuntimeDirectory,
        config: SupervisorConfig,
        table: WorkerTable,
        holdings: Holdings,
        evict: Callable[[Session], None],
    ) -> None:
        self._directory = directory
        self._config = config
        self._table = table
        self._holdings = holdings
        self._evict = evict
        self._shares = Shares(config)

    def make_room(self, key: Key, replaced: Session | None) -> None:
        """Have what has ended go until there is room for one session more.

        Args:
            key: of the session to be made.
            replaced: the one whose place it takes.

        Raises:
            NoRoom: its owner has its share, or nothing can go.
        """
        owner = key[0]
        if self._refusal(owner, replaced) is not None:
            # Some of it may have ended just now.
            self._holdings.measure_of(owner)
            if (what := self._refusal(owner, replaced)) is not None:
                raise NoRoom(f'no room: {what}')
        looked = False
        while True:
            # Its own oldest, which goes first, may be the one that is replaced.
            replaces = replaced is not None and replaced in self._holdings.of(owner)
            count = self._holdings.sessions + (not replaces)
            what = self._shares.shortage(count, self._holdings.memory + _NEED)
            if what is None:
                return
            of_memory = count <= self._config.max_sessions
            if self._evict_for(owner, of_memory=of_memory):
                continue
            if looked:
                raise NoRoom(f'no room: {what} are in use and none can go')
            self._holdings.measure()
            looked = True

    def evict_for(self, owner: bytes) -> bool:
        """Have one session go that has ended, for memory; False if none can."""
        if self._evict_for(owner, of_memory=True):
            return True
        self._holdings.measure()
        return self._evict_for(owner, of_memory=True)

    def _evict_for(self, owner: bytes, *, of_memory: bool) -> bool:
        asker = self._holdings.of(owner)
        loser = self._shares.loser(
            asker, self._holdings.all(), _NEED, of_memory=of_memory
        )
        if loser is None:
            return False
        self._evict(loser.oldest())
        return True

    def _refusal(self, owner: bytes, replaced: Session | None) -> str | None:
        holding = self._holdings.of(owner)
        live, memory = holding.live_sessions + 1, holding.live_memory + _NEED
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
        holding = self._holdings.of(session.key[0])
        word = self._room_of(holding, self._table.room)
        session.words[W_OWNER_ROOM] = word
        holding.bound = holding.bound or bool(word)

    def look(self) -> None:
        """Measure, keep an eighth free for live streams to grow, publish the rest."""
        self._holdings.measure()
        several = self._several(self._holdings.owners)
        while True:
            free = self._free()
            loser = self._shares.loser_to_growth(
                several, self._holdings.all(), self._holdings.memory, free
            )
            if loser is None:
                break
            self._evict(loser.oldest())
        room = max(min(self._config.max_memory - self._holdings.memory, free), 0)
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
        rest = max(self._shares.of_memory(True) - holding.live_memory, 0)
        return rest + 1 if rest < room else 0

    def _free(self) -> int:
        """Bytes that the file system has left, less what others must not miss."""
        try:
            room = os.statvfs(self._directory.path)
        except FileNotFoundError:
            return 0
        return room.f_bavail * room.f_frsize - _SPARE
