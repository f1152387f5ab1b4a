"""The set of sessions: made, replaced, evicted and collected here and nowhere else.

The runtime directory is the truth; what is kept in memory is an index over it, rebuilt
by ``adopt`` when a supervisor takes over. All methods are called from one thread.
"""

from __future__ import annotations

import fcntl
import logging
import os
import re
import secrets

from shmstream import clock
from shmstream.ending import end_stream
from shmstream.errors import LayoutMismatch, NoRoom, StreamNotFound
from shmstream.ids import digest, validate_id
from shmstream.memory.directory import NEW_PREFIX, RuntimeDirectory, discard
from shmstream.memory.extents import FIRST_EXTENT, segment_writer
from shmstream.memory.segment import Segment, open_segment
from shmstream.memory.table import WorkerTable
from shmstream.ring.layout import (
    HEADER_BYTES,
    MAX_CAPACITY,
    MIN_CAPACITY,
    W_CANCELLED,
    W_EVICTED,
)
from shmstream.ring.state import State
from shmstream.supervisor.config import SupervisorConfig
from shmstream.supervisor.names import Names
from shmstream.supervisor.session import Key, Session
from shmstream.wakeups.bells import Bells, ring_everybody

log = logging.getLogger('shmstream.supervisor')

_DIGEST = re.compile(r'[0-9a-f]{40}')
_NEW = re.compile(re.escape(NEW_PREFIX) + r'[0-9a-f]{16}')
_SPARE = 256 * 1024


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
        # Nothing changes in what has ended: only what is live is looked at again.
        self._live: dict[Session, None] = {}
        self._ended: dict[Session, int] = {}
        self._ended_memory = 0
        self._finished: list[Session] = []
        self._used = 0

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
        self._make_room(key)
        name = digest(owner, conv_id)
        generation = secrets.randbits(63) | 1
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
            except NoRoom:
                # The file system is fuller than we counted: others use it too.
                if not self._evict_oldest_finished():
                    raise
        replaced = self._sessions.get(key)
        if replaced is not None:
            # Cancelled before it is replaced: should we die in between, no producer is
            # left behind that nobody can reach any more.
            self._mark(replaced, cancel=True, evict=False)
            self._forget(replaced)
        os.rename(aside, self._directory.segment(name))
        if replaced is not None:
            self._mark(replaced, cancel=False, evict=True)
        session = Session(key, name, segment)
        self._insert(session)
        self._used += session.memory()
        # Not in the figure that was published last.
        self._table.reduce_room(session.memory())
        return session, locked

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
        self._settle()
        before = clock.now_ns() - int(self._config.ttl_s * clock.NS)
        old = [session for session in self._ended if session.ended_ns() <= before]
        for session in old:
            self._mark(session, cancel=False, evict=True)
            self._unlink(session)
        return len(old)

    def finish_dead(self, epoch: int | None = None) -> int:
        """Abort the sessions whose producer has died; return how many.

        The kernel decides: whoever can take the lock knows that nobody holds it.

        Args:
            epoch: look only at what this worker produced.
        """
        aborted = 0
        for session in list(self._live):
            if epoch is not None and session.producer_epoch != epoch:
                continue
            if not session.reader.producer_state.final and self._finish(session):
                aborted += 1
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

    def close(self) -> None:
        """Evict everything: nobody is left to serve."""
        self.finish_dead()
        for session in list(self._sessions.values()):
            self.evict(session)
        self._bells.close()

    # -- room ------------------------------------------------------------------------

    def memory(self) -> int:
        """Bytes that all sessions hold, as of the last ``look_at_room``."""
        return self._used

    def look_at_room(self) -> None:
        """Measure, keep an eighth free for live streams to grow, publish the rest.

        Finished sessions go for it, the oldest first; live ones never do.
        """
        self._settle()
        self._used = self._ended_memory + sum(s.memory() for s in self._live)
        limit = self._config.max_memory
        while self._used > limit - limit // 8 or self._free() < limit // 8:
            if not self._evict_oldest_finished():
                break
        self._table.publish_room(max(min(limit - self._used, self._free()), 0))

    def _settle(self) -> None:
        """Note what has ended since the last time, and what it holds for good."""
        for session in [s for s in self._live if s.reader.producer_state.final]:
            del self._live[session]
            held = self._ended[session] = session.memory()
            self._ended_memory += held

    def _free(self) -> int:
        """Bytes that the file system has left, less what others must not miss."""
        try:
            room = os.statvfs(self._directory.path)
        except FileNotFoundError:
            return 0
        return room.f_bavail * room.f_frsize - _SPARE

    def _make_room(self, key: Key) -> None:
        need = HEADER_BYTES + FIRST_EXTENT
        while True:
            others = len(self._sessions) - (key in self._sessions)
            if others >= self._config.max_sessions:
                what = f'{self._config.max_sessions} sessions'
            elif self.memory() + need > self._config.max_memory:
                what = f'{self._config.max_memory} bytes'
            else:
                return
            if not self._evict_oldest_finished():
                raise NoRoom(f'no room: {what} are in use and none is finished')

    def _evict_oldest_finished(self) -> bool:
        oldest = self._oldest_finished()
        if oldest is None:
            return False
        self._used -= oldest.memory()
        self._mark(oldest, cancel=False, evict=True)
        self._unlink(oldest)
        return True

    def _oldest_finished(self) -> Session | None:
        # Sorted once for many evictions: what finishes later is younger anyhow.
        for _ in range(2):
            while self._finished:
                session = self._finished.pop()
                if self._sessions.get(session.key) is session:
                    return session
            self._settle()
            self._finished = sorted(self._ended, key=Session.ended_ns, reverse=True)
        return None

    # -- the index and the words -----------------------------------------------------

    def _insert(self, session: Session) -> None:
        owner, conv_id = session.key
        self._sessions[session.key] = session
        self._names.add(owner, conv_id)
        self._live[session] = None

    def _forget(self, session: Session) -> None:
        owner, conv_id = session.key
        del self._sessions[session.key]
        self._names.remove(owner, conv_id)
        if session in self._live:
            del self._live[session]
        else:
            self._ended_memory -= self._ended.pop(session)

    def _unlink(self, session: Session) -> None:
        self._forget(session)
        try:
            os.unlink(self._directory.segment(session.digest))
        except FileNotFoundError:
            log.warning('%s was removed by somebody else', session.digest)

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
