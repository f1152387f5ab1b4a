"""Keeps an ended session while a pending session of the same id may replace it.

A pending session may never begin, because its upstream refuses the request or cannot be
reached. Then the ended session must be found again, whole. So the supervisor keeps the
ended session under another name until the pending session, its successor, begins::

    the successor is made        <digest> is linked to .kept-<generation>, then the
                                 successor is renamed over <digest>
    the successor begins         its segment says so: the kept session is evicted
    the successor ends without   the kept session is renamed over the successor
      having begun, or is
      withdrawn
    the id is evicted            both sessions are evicted

The segment says whether a session has begun (``ring.layout``). So no process has to
tell the supervisor, and a new supervisor finds out the same. If a supervisor is killed,
it may leave these files::

    .kept-* and <digest> are     the successor was not made: the session keeps the name
      one file                   <digest>, and loses the other name
    only .kept-*                 the session gets the name <digest> again
    two files                    the segment of the successor decides
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from pathlib import Path

from shmstream.logs.cause import Cause
from shmstream.memory.directory import RuntimeDirectory, discard
from shmstream.metrics.catalogue import EVICTIONS
from shmstream.metrics.counts import Counts
from shmstream.supervisor.gone import Gone
from shmstream.supervisor.index import Index
from shmstream.supervisor.segment_words import SegmentWords
from shmstream.supervisor.session import Key, Session

log = logging.getLogger('shmstream.supervisor')

_REPLACED = EVICTIONS.of('replaced')
_NOT_BEGUN = EVICTIONS.of('not_begun')


class Predecessors:
    """Keeps ended sessions until their successors have begun, or will never begin.

    Args:
        directory: the runtime directory.
        index: finds kept sessions and successors.
        words: marks a successor that never began as cancelled and evicted.
        gone: counts such a successor for as long as a process maps it.
        expire: evicts a session that has ended or never began.
        counts: the supervisor's own words.
    """

    def __init__(
        self,
        directory: RuntimeDirectory,
        index: Index,
        words: SegmentWords,
        gone: Gone,
        expire: Callable[[Session], None],
        counts: Counts,
    ) -> None:
        self._counts = counts
        self._directory = directory
        self._index = index
        self._words = words
        self._gone = gone
        self._expire = expire

    def is_kept(self, session: Session | None) -> bool:
        """Whether this session is to be kept when a pending session replaces it.

        Only an ended session with a content type is kept: a session without one was
        cancelled before it began, and holds no answer.
        """
        return (
            session is not None
            and session.reader.producer_state.final
            and bool(session.segment.content_type)
            and self._index.kept(session.key) is None
        )

    def keep(self, session: Session, path: Path) -> None:
        """Keep a session whose only name is now this path."""
        self._index.set_aside(session)
        session.file = path.name

    def settle_all(self) -> None:
        """Call ``settle`` for the keys of all kept sessions.

        Raises:
            OSError: one session cannot be restored; all others have been settled.
        """
        failed: OSError | None = None
        for key in self._index.kept_keys():
            try:
                self.settle(key)
            except OSError as ex:
                # Raised once all other sessions have been settled.
                failed = failed or ex
        if failed is not None:
            raise failed

    def settle(self, key: Key) -> None:
        """Evict the kept session with this key if its successor has begun.

        If the successor has ended without having begun, restore the kept session.

        Raises:
            OSError: the session cannot be restored, and is still kept.
        """
        kept = self._index.kept(key)
        if kept is None:
            return
        successor = self._index.get(key)
        if successor is None or successor.never_began:
            self.restore(key)
        elif successor.has_begun:
            self._counts.words[_REPLACED] += 1
            self._expire(kept)

    def restore(self, key: Key) -> bool:
        """Let the kept session with this key take the place of its successor.

        If somebody else has removed the kept session's file, both sessions are removed.

        Returns:
            Whether a session was kept.

        Raises:
            OSError: the session cannot be renamed, and is still kept.
        """
        kept = self._index.kept(key)
        if kept is None:
            return False
        successor = self._index.get(key)
        aside: Path | None = None
        if successor is not None:
            self._words.cancel(successor, Cause.WITHDRAWN)
            try:
                aside = self._gone.link(successor)
            except OSError as ex:
                # The successor's memory, one extent, is not counted then until its
                # producer lets go of it.
                log.warning('%s cannot be put aside: %s', kept.digest, ex.strerror)
        # The kept session is renamed over its successor, and only then is the successor
        # marked as evicted, so that a session is found at every moment.
        try:
            os.rename(
                self._directory.segment(kept.file), self._directory.segment(kept.digest)
            )
        except FileNotFoundError:
            if aside is not None:
                # The successor has its own name still, and is removed by that.
                discard(aside)
            for session in filter(None, (kept, successor)):
                self._expire(session)
            return True
        kept.file = kept.digest
        if successor is not None:
            self._counts.words[_NOT_BEGUN] += 1
            self._words.evict(successor)
            self._index.drop(successor)
        self._index.put_back(kept)
        if aside is not None:
            self._gone.keep(aside, key[0])
        return True
