"""The set of sessions: made, replaced, evicted and collected here and nowhere else.

The runtime directory is the truth; what is kept in memory is an index over it
(``index``), rebuilt when a supervisor takes over (``adoption``). All methods are called
from one thread.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable
from pathlib import Path

from shmstream import clock
from shmstream.chance import random_bits
from shmstream.errors import NoRoom
from shmstream.ids import digest, validate_id
from shmstream.memory.directory import NEW_PREFIX, RuntimeDirectory, discard
from shmstream.memory.new_segment import new_segment
from shmstream.memory.reservation import no_room
from shmstream.memory.worker_table import WorkerTable
from shmstream.ring.layout import MAX_CAPACITY, MIN_CAPACITY
from shmstream.supervisor.adoption import Adoption
from shmstream.supervisor.config import SupervisorConfig
from shmstream.supervisor.eviction import Eviction
from shmstream.supervisor.finishing import Finishing
from shmstream.supervisor.gone import Gone
from shmstream.supervisor.index import Index
from shmstream.supervisor.leftovers import Leftovers
from shmstream.supervisor.predecessors import Predecessors
from shmstream.supervisor.segment_words import SegmentWords
from shmstream.supervisor.session import Key, Session

log = logging.getLogger('shmstream.supervisor')


class Registry:
    """All sessions of a runtime directory.

    Args:
        directory: where they are.
        config: the limits; ``max_memory`` must be resolved.
        table: the workers, to ring those that follow or produce.
    """

    def __init__(
        self, directory: RuntimeDirectory, config: SupervisorConfig, table: WorkerTable
    ) -> None:
        self._directory = directory
        self._config = config
        self._gone = Gone(directory)
        self._index = Index(table, self._gone.memory_of)
        self._words = SegmentWords(table)
        self._adoption = Adoption(
            directory, self._index, self._words, self._gone, self._evict_oldest
        )
        self._finishing = Finishing(directory, self._index, self._words)
        self._eviction = Eviction(
            directory,
            config,
            table,
            self._index.holdings,
            self._gone,
            evict=self._expire,
            forget=self._index.drop,
        )
        self._predecessors = Predecessors(
            directory, self._index, self._words, self._gone, self._expire
        )

    def __len__(self) -> int:
        return len(self._index)

    def adopt(self) -> None:
        """Index what a predecessor left; remove what cannot be used."""
        self._adoption.adopt()
        self._predecessors.settle_all()

    def adopt_left(self) -> None:
        """Try again what could not be adopted, for want of room in this process."""
        self._adoption.adopt_left()

    def _evict_oldest(self) -> bool:
        """Evict what has ended first of the owner that has most; False if nothing has.

        Whose the place is to be is not known: what cannot be mapped cannot be asked.
        """
        holdings = self._index.holdings
        holdings.measure()
        losers = [holding for holding in holdings.all() if holding.can_lose]
        if losers:
            self._expire(max(losers, key=lambda holding: holding.sessions).oldest())
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
        """Make a session, replacing and cancelling what has its id.

        Args:
            owner: the name space.
            conv_id: the conversation id.
            capacity: bytes of its ring; None: as it is configured.
            epoch: of the worker that will produce.
            asked_ns: when that worker asked for it first, since boot; None: now.
            pending: keep what has its id and has ended until it begins.

        Returns:
            The session and the descriptor that holds its lock: the caller passes it on
            to the producer and closes it.

        Raises:
            NoRoom: limits, the file system or this process's own are exhausted, and
                nothing can go.
        """
        raw = validate_id(conv_id)
        size = self._config.capacity if capacity is None else capacity
        if not MIN_CAPACITY <= size <= MAX_CAPACITY:
            raise ValueError(f'capacity must be {MIN_CAPACITY} to {MAX_CAPACITY} bytes')
        key = (owner, conv_id)
        self._adoption.require(key)
        self._predecessors.settle(key)
        there = self._index.get(key)
        keep = there if pending and self._predecessors.is_kept(there) else None
        self._eviction.make_room(key, None if keep else there)
        name = digest(owner, conv_id)
        generation = random_bits(63) | 1
        created = clock.moment()
        if asked_ns is not None:
            created = created._replace(now_ns=asked_ns)
        aside = self._directory.sessions / f'{NEW_PREFIX}{generation:016x}'
        while True:
            try:
                segment, locked = new_segment(
                    aside,
                    capacity=size,
                    generation=generation,
                    created=created,
                    producer_epoch=epoch,
                    owner=owner,
                    conv_id=raw,
                )
                break
            except NoRoom as ex:
                # The file system is fuller than we counted: others use it too.
                if not self._eviction.evict_for(owner):
                    raise self._eviction.refused(str(ex)) from ex
        kept: Path | None = None
        try:
            replaced, kept = self._link_aside(key, keep)
            if replaced is not None and replaced is not keep:
                # Cancelled before it is replaced: should we die in between, no producer
                # is left behind that nobody can reach any more.
                self._words.cancel(replaced)
            os.rename(aside, self._directory.segment(name))
        except BaseException:
            os.close(locked)
            discard(aside)
            if kept is not None:
                # It still has its own name, and is what it was.
                discard(kept)
            raise
        if kept is not None and replaced is not None and replaced is keep:
            self._predecessors.keep(replaced, kept)
        else:
            if replaced is not None:
                self._index.drop(replaced)
                self._words.evict(replaced)
            if kept is not None:
                self._gone.keep(kept, owner)
        session = Session(key, name, segment)
        self._index.add(session)
        # Before its producer has it.
        self._eviction.made(session)
        return session, locked

    def _link_aside(
        self, key: Key, keep: Session | None
    ) -> tuple[Session | None, Path | None]:
        # What makes room may be the very session that is to be replaced, or kept.
        while (replaced := self._index.get(key)) is not None:
            kept = self._directory.kept(replaced.segment.generation)
            try:
                return replaced, self._gone.link(
                    replaced, kept if replaced is keep else None
                )
            except OSError as ex:
                error = no_room(ex)
                if not isinstance(error, NoRoom):
                    raise
                if not self._eviction.evict_for(key[0]):
                    raise self._eviction.refused(str(error)) from ex
        return None, None

    def find(
        self, owner: bytes, conv_id: str, generation: str | None, asked_ns: int
    ) -> Session | None:
        """Return the session, if it is there and the one that was meant.

        Args:
            owner: the name space.
            conv_id: the conversation id.
            generation: none but this one.
            asked_ns: none whose producer asked for it after this moment.

        Raises:
            NoRoom: it is there, and could not be adopted yet.
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
        """Tell the producer to stop; what there is stays readable."""
        self._words.cancel(session)

    def evict(self, session: Session) -> None:
        """Cancel the session and remove it, and what is kept of its id."""
        kept = self._index.kept(session.key)
        if kept is not None:
            self._expire(kept)
        if session is not kept:
            self._words.cancel_and_evict(session)
            self._unlink(session)

    def withdraw(self, session: Session) -> None:
        """Take back a session that comes to nothing: there is what it was to replace.

        Its producer has gone before it was handed over, or says so itself.
        """
        if session not in self._index:
            return
        self._words.cancel_and_evict(session)
        self._finishing.finish(session)
        if session in self._index and not self._predecessors.restore(session.key):
            self._unlink(session)

    def lookup(self, owner: bytes, conv_ids: Iterable[str]) -> list[Key]:
        """Find each session whose id is one of these or begins with it and ``::``.

        In the order asked; no session twice, however many ids find it.
        """
        return self._index.found_by(owner, conv_ids)

    def everything(self) -> list[Key]:
        """Find every session of every owner; for tools on this machine only."""
        return [session.key for session in self._index.all()]

    def describe(self, keys: Iterable[Key]) -> list[str]:
        """Describe the sessions that have these keys; those that have gone are not."""
        there = map(self._index.get, keys)
        return [session.describe() for session in there if session is not None]

    # -- collection ------------------------------------------------------------------

    def collect(self) -> int:
        """Evict what has been finished for longer than the TTL; return how many."""
        holdings = self._index.holdings
        holdings.measure()
        before = clock.now_ns() - int(self._config.ttl_s * clock.NS)
        expired = 0
        for holding in list(holdings.all()):
            while holding.ended and holding.oldest().ended_ns() <= before:
                self._expire(holding.oldest())
                expired += 1
        return expired

    def _expire(self, session: Session) -> None:
        """Remove what has ended."""
        self._words.evict(session)
        self._unlink(session)

    def _unlink(self, session: Session) -> None:
        self._index.drop(session)
        try:
            self._gone.put(session)
        except OSError as ex:
            # It has been marked: nobody finds it any more, and a successor removes it.
            log.warning('%s cannot be removed: %s', session.digest, ex.strerror)

    def finish_dead(self, epoch: int | None = None) -> int:
        """Abort the sessions whose producer has died; return how many.

        Args:
            epoch: look at what this worker produced, and at nothing else; None: at
                those whose turn it is (``deaths``).

        Raises:
            OSError: one of them cannot be looked at; all others have been.
        """
        deaths = self._index.deaths
        try:
            return self._finishing.finish_those(
                deaths.due() if epoch is None else deaths.of(epoch)
            )
        finally:
            self._predecessors.settle_all()

    def close(self, leftovers: Leftovers | None = None) -> None:
        """Evict everything: nobody is left to serve.

        Args:
            leftovers: removes the files, and notes those that cannot go.
        """
        leftovers = leftovers or Leftovers()
        live = list(self._index.holdings.live())
        leftovers.remove(
            self._directory.sessions, lambda: self._finishing.finish_those(live)
        )
        kept = map(self._index.kept, self._index.kept_keys())
        for session in [*self._index.all(), *filter(None, kept)]:
            self._words.cancel_and_evict(session)
            self._index.drop(session)
            leftovers.remove_file(self._directory.segment(session.file))
        for path in self._adoption.left:
            leftovers.remove_file(path)
        self._gone.close(leftovers)
        self._words.close()

    # -- room ------------------------------------------------------------------------

    def memory(self) -> int:
        """Bytes that are held, as measured last.

        By all sessions, and by what was one and is still mapped.
        """
        return self._index.holdings.memory + self._gone.memory

    def look_at_room(self) -> None:
        """Measure, keep some free for live streams to grow, publish the rest.

        Finished sessions go for it, the oldest first; live ones never do. What is kept
        for a stream that has begun by now goes before all of them.
        """
        self._predecessors.settle_all()
        self._eviction.look()
