"""The set of sessions: made, replaced, evicted and collected here and nowhere else.

The runtime directory is the truth; what is kept in memory is an index over it
(``index``), rebuilt when a supervisor takes over (``adoption``). All methods are called
from one thread.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable

from shmstream import clock
from shmstream.memory.directory import RuntimeDirectory
from shmstream.memory.worker_table import WorkerTable
from shmstream.supervisor.adoption import Adoption
from shmstream.supervisor.config import SupervisorConfig
from shmstream.supervisor.creation import Creation
from shmstream.supervisor.eviction import Eviction
from shmstream.supervisor.finishing import Finishing
from shmstream.supervisor.gone import Gone
from shmstream.supervisor.index import Index
from shmstream.supervisor.leftovers import Leftovers
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
        self._creation = Creation(
            directory,
            config,
            self._index,
            self._words,
            self._gone,
            self._adoption,
            self._eviction,
        )

    def __len__(self) -> int:
        return len(self._index)

    def adopt(self) -> None:
        """Index what a predecessor left; remove what cannot be used."""
        self._adoption.adopt()

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
    ) -> tuple[Session, int]:
        """Make a session, replacing and cancelling what has its id.

        Args:
            owner: the name space.
            conv_id: the conversation id.
            capacity: bytes of its ring; None: as it is configured.
            epoch: of the worker that will produce.
            asked_ns: when that worker asked for it first, since boot; None: now.

        Returns:
            The session and the descriptor that holds its lock: the caller passes it on
            to the producer and closes it.

        Raises:
            NoRoom: limits, the file system or this process's own are exhausted, and
                nothing can go.
        """
        return self._creation.create(owner, conv_id, capacity, epoch, asked_ns)

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
        """Cancel the session and remove it from under its id."""
        self._words.cancel_and_evict(session)
        self._unlink(session)

    def withdraw(self, session: Session) -> None:
        """Take back a session whose producer has gone before it was handed over."""
        if session not in self._index:
            return
        self._words.cancel_and_evict(session)
        self._finishing.finish(session)
        if session in self._index:
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
        return self._finishing.finish_those(
            deaths.due() if epoch is None else deaths.of(epoch)
        )

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
        for session in self._index.all():
            self._words.cancel_and_evict(session)
            self._index.drop(session)
            leftovers.remove_file(self._directory.segment(session.digest))
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

        Finished sessions go for it, the oldest first; live ones never do.
        """
        self._eviction.look()
