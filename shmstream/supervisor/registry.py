"""The set of sessions: only the registry makes, replaces, evicts and collects them.

The runtime directory is the truth. The index in memory (``index``) is rebuilt when a
supervisor takes over (``adoption``). One thread calls all methods.
"""

from __future__ import annotations

import contextlib
import logging
import sys
from collections.abc import Iterable

from shmstream import clock
from shmstream.logs.cause import Cause
from shmstream.memory.directory import RuntimeDirectory
from shmstream.memory.session_facts import SessionFacts, facts_of
from shmstream.memory.worker_table import Slots, WorkerTable
from shmstream.metrics.catalogue import EVICTIONS, MEMORY, SESSIONS, SESSIONS_LIMIT
from shmstream.metrics.counts import Counts
from shmstream.supervisor.adoption import Adoption
from shmstream.supervisor.config import SupervisorConfig
from shmstream.supervisor.creation import Creation
from shmstream.supervisor.eviction import Eviction
from shmstream.supervisor.finishing import Finishing
from shmstream.supervisor.gone import Gone
from shmstream.supervisor.index import Index
from shmstream.supervisor.leftovers import Leftovers
from shmstream.supervisor.predecessors import Predecessors
from shmstream.supervisor.segment_words import SegmentWords
from shmstream.supervisor.session import Key, Session

log = logging.getLogger('shmstream.supervisor')

_ASKED = EVICTIONS.of('asked')
_EXPIRED = EVICTIONS.of('expired')
_NOT_BEGUN = EVICTIONS.of('not_begun')
_ROOM = EVICTIONS.of('room')


class Registry:
    """All sessions of a runtime directory.

    Args:
        directory: the runtime directory.
        config: the limits; ``max_memory`` must not be 0.
        table: the worker table, to ring processes that follow or produce.
        counts: the supervisor's own words.
    """

    def __init__(
        self,
        directory: RuntimeDirectory,
        config: SupervisorConfig,
        table: WorkerTable,
        counts: Counts | None = None,
    ) -> None:
        self._counts = counts = counts or Counts()
        self._directory = directory
        self._config = config
        self._gone = Gone(directory, counts)
        self._index = Index(table, self._gone.memory_of)
        self._words = SegmentWords(table, counts)
        self._adoption = Adoption(
            directory, self._index, self._words, self._gone, self._evict_oldest
        )
        self._finishing = Finishing(directory, self._index, self._words, counts)
        self._eviction = Eviction(
            directory,
            config,
            table,
            self._index.holdings,
            self._gone,
            evict=self._make_way,
            forget=self._forget,
        )
        self._predecessors = Predecessors(
            directory, self._index, self._words, self._gone, self._expire, counts
        )
        self._creation = Creation(
            directory,
            config,
            self._index,
            self._words,
            self._gone,
            self._adoption,
            self._eviction,
            self._predecessors,
            counts,
        )

    def __len__(self) -> int:
        return len(self._index)

    def adopt(self) -> None:
        """Adopt the sessions that a predecessor left; remove files of no use."""
        self._adoption.adopt()
        self._settle()

    def adopt_left(self) -> None:
        """Try again to adopt sessions that this process had no room to map."""
        self._adoption.adopt_left()

    def _evict_oldest(self) -> bool:
        """Evict the oldest ended session of the owner with most sessions.

        Returns False if no session has ended.

        The owner of the session that needs the place is not known: its segment cannot
        be mapped yet.
        """
        holdings = self._index.holdings
        holdings.measure()
        losers = [holding for holding in holdings.all() if holding.can_lose]
        if losers:
            self._make_way(max(losers, key=lambda holding: holding.sessions).oldest())
        return bool(losers)

    # -- operations ------------------------------------------------------------------

    def create(
        self,
        owner: bytes,
        conv_id: str,
        capacity: int | None,
        epoch: int,
        asked_ns: int | None = None,
        *,
        pending: bool = False,
    ) -> tuple[Session, int]:
        """Make a session; cancel and replace the session with the same id, if any.

        Args:
            owner: the owner's digest.
            conv_id: the conversation id.
            capacity: bytes of its ring; None: as configured.
            epoch: the epoch of the worker that will produce.
            asked_ns: when that worker first asked for it, in ns since boot; None: now.
            pending: whether to keep an ended session of this id until the new session
                begins.

        Returns:
            The session, and the descriptor that holds its lock: the caller passes the
            descriptor on to the producer and closes it.

        Raises:
            NoRoom: a limit, the file system, or this process's descriptors or mappings
                are exhausted, and no session can be evicted.
            InvalidConversationId, ValueError: the id or the capacity is not allowed.
        """
        return self._creation.create(
            owner, conv_id, capacity, epoch, asked_ns, pending=pending
        )

    def find(
        self, owner: bytes, conv_id: str, generation: str | None, asked_ns: int
    ) -> Session | None:
        """Return the session with this id, or None if it is not the one that was meant.

        Args:
            owner: the owner's digest.
            conv_id: the conversation id.
            generation: the generation that was meant; None: any.
            asked_ns: a session whose producer asked for it after this moment (ns since
                boot) was not meant.

        Raises:
            NoRoom: the session exists, but could not be adopted yet.
        """
        self._adoption.require((owner, conv_id))
        session = self._index.get((owner, conv_id))
        kept = self._index.kept((owner, conv_id))
        if kept is not None and kept.segment.generation == generation:
            session = kept
        if (
            session is None
            or generation not in (None, session.segment.generation)
            or session.asked_for_after(asked_ns)
        ):
            return None
        return session

    def cancel(self, session: Session) -> None:
        """Tell the producer to stop; the bytes so far stay readable."""
        self._words.cancel(session, Cause.STOPPED)

    def evict(self, session: Session) -> None:
        """Cancel and remove the session, and remove the kept session of its id."""
        kept = self._index.kept(session.key)
        if kept is not None:
            self._count(_ASKED)
            self._expire(kept)
        if session is not kept:
            self._count(_ASKED)
            self._words.cancel_and_evict(session, Cause.DELETED)
            self._unlink(session)

    def withdraw(self, session: Session) -> None:
        """Remove a session that will never begin, and restore the session it replaced.

        The producer has gone before it got the session, or asks for this itself.
        """
        if session not in self._index:
            return
        self._words.cancel(session, Cause.WITHDRAWN)
        self._finishing.finish(session)
        if session in self._index and not self._predecessors.restore(session.key):
            self._count(_NOT_BEGUN)
            self._expire(session)

    def lookup(self, owner: bytes, conv_ids: Iterable[str]) -> list[Key]:
        """Find each session whose id is one of these or begins with one and ``::``.

        The keys are in the order of the ids; each session is found once.
        """
        return self._index.found_by(owner, conv_ids)

    def aliased(self, owner: bytes, alias: str) -> Session | None:
        """Return the newest session of this owner that has this alias."""
        return self._index.aliases.find(owner, alias)

    def everything(
        self,
        owner: bytes | None = None,
        conv_id: str | None = None,
        after: str = '',
        most: int = sys.maxsize,
    ) -> list[Key]:
        """Find the sessions of an owner by their ids, or of all owners.

        Args:
            owner: the owner; None: all owners, which is for tools on this machine only.
            conv_id: find the session with this id only.
            after: find the sessions whose ids come after this one.
            most: find so many sessions, at most. Those of one owner are in the order of
                their ids.
        """
        if conv_id is not None:
            keys = self._index.named(conv_id, owner)
        elif owner is not None:
            return self._index.after(owner, after, most)
        else:
            keys = [session.key for session in self._index.all()]
        return [key for key in keys if key[1] > after][:most]

    def facts(self, keys: Iterable[Key], slots: Slots) -> list[SessionFacts]:
        """Return what tools are told of these sessions; skip removed ones."""
        there = map(self._index.get, keys)
        return [facts_of(s.segment, s.memory(), slots) for s in there if s is not None]

    def describe(self, keys: Iterable[Key]) -> list[str]:
        """Describe the sessions with these keys, as JSON texts; skip removed ones."""
        there = map(self._index.get, keys)
        return [session.describe() for session in there if session is not None]

    # -- collection ------------------------------------------------------------------

    def collect(self) -> int:
        """Evict the sessions that ended longer ago than the TTL; return how many."""
        holdings = self._index.holdings
        holdings.measure()
        before = clock.now_ns() - int(self._config.ttl_s * clock.NS)
        expired = 0
        for holding in list(holdings.all()):
            while holding.ended and holding.oldest().ended_ns() <= before:
                # Counted last: what cannot be removed is tried again and again.
                self._expire(holding.oldest())
                self._count(_EXPIRED)
                expired += 1
        return expired

    def _count(self, at: int) -> None:
        self._counts.words[at] += 1

    def _make_way(self, session: Session) -> None:
        """Evict a session that has ended, to make room."""
        self._expire(session)
        self._count(_ROOM)

    def _forget(self, session: Session) -> None:
        """Drop a session whose file has been removed to make room."""
        self._count(_ROOM)
        self._index.drop(session)

    def _expire(self, session: Session) -> None:
        """Evict a session that has ended."""
        self._words.evict(session)
        self._unlink(session)

    def _unlink(self, session: Session) -> None:
        self._index.drop(session)
        try:
            self._gone.put(session)
        except OSError as ex:
            # It is marked as evicted: nobody finds it, and a successor removes it.
            log.warning('%s cannot be removed: %s', session.digest, ex.strerror)

    def finish_dead(self, epoch: int | None = None) -> int:
        """Abort the sessions whose producer has died; return how many.

        Args:
            epoch: check only the sessions that the worker with this epoch produced;
                None: those whose turn it is (``deaths``).

        Raises:
            OSError: one session could not be checked, or a kept one not restored; all
                others have been.
        """
        deaths = self._index.deaths
        try:
            return self._finishing.finish_those(
                deaths.due() if epoch is None else deaths.of(epoch)
            )
        finally:
            self._predecessors.settle_all()

    def close(self, leftovers: Leftovers | None = None) -> None:
        """End and remove all sessions: the deployment ends.

        Args:
            leftovers: removes the files, and notes those that cannot be removed.
        """
        leftovers = leftovers or Leftovers()
        live = self._index.deaths.all()
        leftovers.remove(
            self._directory.sessions, lambda: self._finishing.finish_those(live)
        )
        kept = map(self._index.kept, self._index.kept_keys())
        for session in [*self._index.all(), *filter(None, kept)]:
            self._words.cancel_and_evict(session, Cause.REMOVED)
            self._index.drop(session)
            leftovers.remove_file(self._directory.segment(session.file))
        for path in self._adoption.left:
            leftovers.remove_file(path)
        self._gone.close(leftovers)
        self._words.close()

    # -- room ------------------------------------------------------------------------

    def memory(self) -> int:
        """Bytes that all sessions and all gone segments hold, as last measured."""
        return self._index.holdings.memory + self._gone.memory

    def look_at_room(self) -> None:
        """Measure the memory, evict to keep some free, publish how much is left.

        Only ended sessions are evicted, the oldest first, so that live streams can
        grow. Before them, kept sessions are evicted whose successors have begun.
        """
        self._settle()
        self._eviction.look()

    def publish(self) -> None:
        """Publish the sessions by state, and their memory, in the metrics."""
        words = self._counts.words
        for at, number in enumerate(self._index.states(), SESSIONS.at):
            words[at] = number
        words[SESSIONS_LIMIT.at] = self._config.max_sessions
        words[MEMORY.of('used')] = self.memory()
        words[MEMORY.of('pinned')] = self._gone.memory
        words[MEMORY.of('limit')] = self._config.max_memory

    def _settle(self) -> None:
        # One session that cannot be restored stops neither the supervisor's start nor
        # the measuring. ``finish_dead`` tries again soon, and raises then.
        with contextlib.suppress(OSError):
            self._predecessors.settle_all()
