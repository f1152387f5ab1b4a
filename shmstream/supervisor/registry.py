"""The set of sessions: made, replaced, evicted and collected here and nowhere else.

The runtime directory is the truth; what is kept in memory is an index over it, rebuilt
by ``adopt`` when a supervisor takes over. All methods are called from one thread.
"""

from __future__ import annotations

import fcntl
import logging
import os
import re
from pathlib import Path

from shmstream import clock
from shmstream.chance import random_bits
from shmstream.ending import end_stream
from shmstream.errors import LayoutMismatch, NoRoom, StreamNotFound
from shmstream.ids import digest, validate_id
from shmstream.memory.directory import (
    GONE_PREFIX,
    NEW_PREFIX,
    RuntimeDirectory,
    discard,
)
from shmstream.memory.extents import no_room, segment_writer
from shmstream.memory.segment import Segment, open_segment
from shmstream.memory.table import WorkerTable
from shmstream.ring.layout import (
    MAX_CAPACITY,
    MIN_CAPACITY,
    W_CANCELLED,
    W_EVICTED,
)
from shmstream.ring.state import State
from shmstream.supervisor.config import SupervisorConfig
from shmstream.supervisor.deaths import Deaths
from shmstream.supervisor.eviction import Eviction
from shmstream.supervisor.gone import Gone
from shmstream.supervisor.holdings import Holdings
from shmstream.supervisor.leftovers import Leftovers
from shmstream.supervisor.names import Names
from shmstream.supervisor.session import Key, Session
from shmstream.wakeups.bells import Bells, ring_everybody

log = logging.getLogger('shmstream.supervisor')

_DIGEST = re.compile(r'[0-9a-f]{40}')
_NEW = re.compile(re.escape(NEW_PREFIX) + r'[0-9a-f]{16}')
_GONE = re.compile(re.escape(GONE_PREFIX) + r'[0-9a-f]{16}')


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
        self._table = table
        self._bells = Bells(table)
        self._sessions: dict[Key, Session] = {}
        self._names = Names()
        self._gone = Gone(directory)
        self._deaths = Deaths(table)
        self._holdings = Holdings(self._deaths.drop)
        self._eviction = Eviction(
            directory,
            config,
            table,
            self._holdings,
            self._gone,
            evict=self._expire,
            forget=self._forget,
        )

    def __len__(self) -> int:
        return len(self._sessions)

    # -- taking over -----------------------------------------------------------------

    def adopt(self) -> None:
        """Index what a predecessor left; remove what cannot be used."""
        with os.scandir(self._directory.sessions) as entries:
            names = [entry.name for entry in entries]
        for name in names:
            path = self._directory.segment(name)
            if _NEW.fullmatch(name):
                discard(path)
                continue
            if _GONE.fullmatch(name):
                self._adopt_gone(path)
                continue
            if not _DIGEST.fullmatch(name):
                log.warning('%s is none of our files', path)
                continue
            try:
                segment = Segment.attach(path)
                if digest(segment.owner, segment.conv_id) != name:
                    raise LayoutMismatch('the name is not that of its session')
                if segment.evicted:
                    raise LayoutMismatch('it had been evicted')
            except (LayoutMismatch, ValueError) as ex:
                log.warning('removed %s: %s', name, ex)
                discard(path)
                continue
            except StreamNotFound:
                continue
            key = (segment.owner, segment.conv_id)
            self._insert(Session(key, name, segment))

    def _adopt_gone(self, path: Path) -> None:
        try:
            segment = Segment.attach(path)
            if os.stat(path).st_nlink > 1:
                # It was about to be replaced: it still is the session of its name.
                discard(path)
                return
        except (LayoutMismatch, ValueError) as ex:
            log.warning('removed %s: %s', path.name, ex)
            discard(path)
            return
        except (StreamNotFound, FileNotFoundError):
            return
        self._mark(
            Session((segment.owner, segment.conv_id), segment.digest, segment),
            cancel=True,
            evict=True,
        )
        self._gone.keep(path, segment.owner)

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
            NoRoom: limits or the file system are exhausted and nothing can go.
        """
        raw = validate_id(conv_id)
        size = self._config.capacity if capacity is None else capacity
        if not MIN_CAPACITY <= size <= MAX_CAPACITY:
            raise ValueError(f'capacity must be {MIN_CAPACITY} to {MAX_CAPACITY} bytes')
        key = (owner, conv_id)
        self._eviction.make_room(key, self._sessions.get(key))
        name = digest(owner, conv_id)
        generation = random_bits(63) | 1
        created = clock.moment()
        if asked_ns is not None:
            created = created._replace(now_ns=asked_ns)
        aside = self._directory.sessions / f'{NEW_PREFIX}{generation:016x}'
        while True:
            try:
                segment, locked = Segment.create(
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
        try:
            replaced, kept = self._link_aside(key)
            if replaced is not None:
                # Cancelled before it is replaced: should we die in between, no producer
                # is left behind that nobody can reach any more.
                self._mark(replaced, cancel=True, evict=False)
                self._forget(replaced)
            os.rename(aside, self._directory.segment(name))
        except BaseException:
            os.close(locked)
            discard(aside)
            raise
        if replaced is not None:
            self._mark(replaced, cancel=False, evict=True)
        if kept is not None:
            self._gone.keep(kept, owner)
        session = Session(key, name, segment)
        self._insert(session)
        # Before its producer has it.
        self._eviction.made(session)
        return session, locked

    def _link_aside(self, key: Key) -> tuple[Session | None, Path | None]:
        # What makes room may be the very session that is to be replaced.
        while (replaced := self._sessions.get(key)) is not None:
            try:
                return replaced, self._gone.link(replaced)
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
        """
        session = self._sessions.get((owner, conv_id))
        if (
            session is None
            or generation not in (None, session.segment.generation)
            or session.asked_for_after(asked_ns)
        ):
            return None
        return session

    def cancel(self, session: Session) -> None:
        """Tell the producer to stop; what there is stays readable."""
        self._mark(session, cancel=True, evict=False)

    def evict(self, session: Session) -> None:
        """Cancel the session and remove it from under its id."""
        self._mark(session, cancel=True, evict=True)
        self._unlink(session)

    def withdraw(self, session: Session) -> None:
        """Take back a session whose producer has gone before it was handed over."""
        if self._sessions.get(session.key) is not session:
            return
        self._mark(session, cancel=True, evict=True)
        self._finish(session)
        if self._sessions.get(session.key) is session:
            self._unlink(session)

    def lookup(self, owner: bytes, conv_ids: list[str]) -> list[str]:
        """Describe each session whose id is one of these or begins with it and ``::``.

        In the order asked; no session twice, however many ids find it.
        """
        found: dict[Session, None] = {}
        for conv_id in conv_ids:
            for name in self._names.found_by(owner, conv_id):
                found[self._sessions[owner, name]] = None
        return [session.describe() for session in found]

    def describe_all(self) -> list[str]:
        """Describe every session of every owner; for tools on this machine only."""
        return [session.describe() for session in self._sessions.values()]

    # -- collection ------------------------------------------------------------------

    def collect(self) -> int:
        """Evict what has been finished for longer than the TTL; return how many."""
        self._holdings.measure()
        before = clock.now_ns() - int(self._config.ttl_s * clock.NS)
        expired = 0
        for holding in list(self._holdings.all()):
            while holding.ended and holding.oldest().ended_ns() <= before:
                self._expire(holding.oldest())
                expired += 1
        return expired

    def _expire(self, session: Session) -> None:
        """Remove what has ended."""
        self._mark(session, cancel=False, evict=True)
        self._unlink(session)

    def finish_dead(self, epoch: int | None = None) -> int:
        """Abort the sessions whose producer has died; return how many.

        The kernel decides: whoever can take the lock knows that nobody holds it.

        Args:
            epoch: look at what this worker produced, and at nothing else; None: at
                those whose turn it is (``deaths``).

        Raises:
            OSError: one of them cannot be looked at; all others have been.
        """
        return self._finish_those(
            self._deaths.due() if epoch is None else self._deaths.of(epoch)
        )

    def _finish_those(self, sessions: list[Session]) -> int:
        aborted = 0
        failed: OSError | None = None
        for session in sessions:
            try:
                if not session.reader.producer_state.final and self._finish(session):
                    aborted += 1
            except OSError as ex:
                # The others' turn comes first.
                failed = ex
        if failed is not None:
            raise failed
        return aborted

    def _finish(self, session: Session) -> bool:
        try:
            fd = open_segment(self._directory.segment(session.digest))
        except (StreamNotFound, LayoutMismatch):
            # Somebody removed the file; its followers have their mappings.
            self._forget(session)
            self._mark(session, cancel=True, evict=True)
            return False
        try:
            found = os.fstat(fd)
            if (found.st_dev, found.st_ino) != session.segment.identity:
                return False
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return False
            if session.reader.producer_state.final:
                # It ended while we came for the lock: what it said last is the end.
                return False
            segment = session.segment
            if segment.cancelled:
                end_stream(segment, segment_writer(segment, fd), State.CANCELLED)
            else:
                why = 'the producer of this stream has died'
                end_stream(segment, segment_writer(segment, fd), State.ABORTED, why)
            ring_everybody(segment, self._bells)
            return True
        finally:
            os.close(fd)

    def close(self, leftovers: Leftovers | None = None) -> None:
        """Evict everything: nobody is left to serve.

        Args:
            leftovers: removes the files, and notes those that cannot go.
        """
        leftovers = leftovers or Leftovers()
        live = list(self._holdings.live())
        leftovers.remove(self._directory.sessions, lambda: self._finish_those(live))
        for session in list(self._sessions.values()):
            self._mark(session, cancel=True, evict=True)
            self._forget(session)
            leftovers.remove_file(self._directory.segment(session.digest))
        self._gone.close(leftovers)
        self._bells.close()

    # -- room ------------------------------------------------------------------------

    def memory(self) -> int:
        """Bytes that are held, as measured last.

        By all sessions, and by what was one and is still mapped.
        """
        return self._holdings.memory + self._gone.memory

    def look_at_room(self) -> None:
        """Measure, keep some free for live streams to grow, publish the rest.

        Finished sessions go for it, the oldest first; live ones never do.
        """
        self._eviction.look()

    # -- the index and the words -----------------------------------------------------

    def _insert(self, session: Session) -> None:
        owner, conv_id = session.key
        self._sessions[session.key] = session
        self._names.add(owner, conv_id)
        self._holdings.add(session)
        self._deaths.add(session)

    def _forget(self, session: Session) -> None:
        owner, conv_id = session.key
        del self._sessions[session.key]
        self._names.remove(owner, conv_id)
        self._holdings.drop(session)
        self._deaths.drop(session)

    def _unlink(self, session: Session) -> None:
        self._forget(session)
        try:
            self._gone.put(session)
        except OSError as ex:
            # It has been marked: nobody finds it any more, and a successor removes it.
            log.warning('%s cannot be removed: %s', session.digest, ex.strerror)

    def _mark(self, session: Session, *, cancel: bool, evict: bool) -> None:
        now = clock.now_ns()
        words = session.segment.words
        if cancel and not words[W_CANCELLED]:
            words[W_CANCELLED] = now
        if evict:
            words[W_EVICTED] = now
        ring_everybody(session.segment, self._bells)
        if cancel and not session.reader.producer_state.final:
            slot = self._table.slot_of(session.producer_epoch)
            if slot is not None:
                self._table.notify(slot)
                self._bells.ring(slot)
