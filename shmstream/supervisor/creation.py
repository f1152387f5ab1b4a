"""Making a session, and replacing the session that had its conversation id.

The new segment is made under another name, and then renamed over the old one. So at any
moment there is the old session or the new one, whole. Before that, the old segment gets
a second name (``gone``), under which it is counted once it is replaced.
"""

from __future__ import annotations

import os
from pathlib import Path

from shmstream import clock
from shmstream.chance import random_bits
from shmstream.errors import NoRoom
from shmstream.ids import digest, validate_id
from shmstream.logs.cause import Cause
from shmstream.memory.directory import NEW_PREFIX, RuntimeDirectory, discard
from shmstream.memory.new_segment import new_segment
from shmstream.memory.reservation import no_room
from shmstream.metrics.catalogue import EVICTIONS, STARTED
from shmstream.metrics.counts import Counts
from shmstream.ring.layout import MAX_CAPACITY, MIN_CAPACITY
from shmstream.supervisor.adoption import Adoption
from shmstream.supervisor.config import SupervisorConfig
from shmstream.supervisor.eviction import Eviction
from shmstream.supervisor.gone import Gone
from shmstream.supervisor.index import Index
from shmstream.supervisor.predecessors import Predecessors
from shmstream.supervisor.segment_words import SegmentWords
from shmstream.supervisor.session import Key, Session

_REPLACED = EVICTIONS.of('replaced')
_STARTED = STARTED.at


class Creation:
    """Makes sessions.

    Args:
        directory: the runtime directory.
        config: the capacity of a ring, unless a request names another.
        index: gets the new session, and loses the replaced one.
        words: cancels and evicts the replaced session.
        gone: counts the replaced session for as long as somebody maps it.
        adoption: knows the sessions that could not be adopted yet.
        eviction: makes room.
        predecessors: keeps an ended session until a pending session begins.
        counts: the supervisor's own words.
    """

    def __init__(
        self,
        directory: RuntimeDirectory,
        config: SupervisorConfig,
        index: Index,
        words: SegmentWords,
        gone: Gone,
        adoption: Adoption,
        eviction: Eviction,
        predecessors: Predecessors,
        counts: Counts,
    ) -> None:
        self._counts = counts
        self._directory = directory
        self._config = config
        self._index = index
        self._words = words
        self._gone = gone
        self._adoption = adoption
        self._eviction = eviction
        self._predecessors = predecessors

    def create(
        self,
        owner: bytes,
        conv_id: str,
        capacity: int | None,
        epoch: int,
        asked_ns: int | None,
        *,
        pending: bool,
    ) -> tuple[Session, int]:
        """Make a session; arguments, result and errors as ``Registry.create``."""
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
                # The file system is fuller than the supervisor has counted: other
                # programs use it too.
                if not self._eviction.evict_for(owner):
                    raise self._eviction.refused(str(ex)) from ex
        kept: Path | None = None
        try:
            replaced, kept = self._link_aside(key, keep)
            if replaced is not None and replaced is not keep:
                # The old session is cancelled before it is replaced: if the supervisor
                # dies in between, no producer goes on that nobody can reach any more.
                self._words.cancel(replaced, Cause.REPLACED)
            os.rename(aside, self._directory.segment(name))
        except BaseException:
            os.close(locked)
            discard(aside)
            if kept is not None:
                # The old session still has its own name, and stays what it was.
                discard(kept)
            raise
        if kept is not None and replaced is not None and replaced is keep:
            self._predecessors.keep(replaced, kept)
        else:
            if replaced is not None:
                self._counts.words[_REPLACED] += 1
                self._index.drop(replaced)
                self._words.evict(replaced)
            if kept is not None:
                self._gone.keep(kept, owner)
        self._counts.words[_STARTED] += 1
        session = Session(key, name, segment)
        self._index.add(session)
        # The room is reduced before the producer gets the session and takes memory.
        self._eviction.made(session)
        return session, locked

    def _link_aside(
        self, key: Key, keep: Session | None
    ) -> tuple[Session | None, Path | None]:
        # The session that is evicted to make room may be the very one that is to be
        # replaced or kept.
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
