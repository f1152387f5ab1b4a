"""What has ended, kept beside the pending stream that is to take its place.

A stream that is pending may never begin: its upstream refuses, or cannot be reached.
What had its id before must be there again then, whole. So it is kept under another name
until the new stream begins::

    create    link <digest> to .kept-<generation>, then rename the new one over <digest>
    begun     the new stream's words say so: what was kept is evicted
    not       the new stream has ended without that, or is withdrawn: what was kept is
              renamed over it
    evict     both go

Whether a stream has begun is in its segment (``ring.layout``), so nobody has to be told
of it, and a successor finds out the same. What a supervisor that is killed leaves::

    .kept-* is the file of <digest>, too    the replacement came no farther: it stays,
                                            and loses its second name
    .kept-* alone                           it gets its own name back
    both                                    the words of the new stream decide
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from pathlib import Path

from shmstream.memory.directory import RuntimeDirectory
from shmstream.supervisor.gone import Gone
from shmstream.supervisor.index import Index
from shmstream.supervisor.segment_words import SegmentWords
from shmstream.supervisor.session import Key, Session

log = logging.getLogger('shmstream.supervisor')


class Predecessors:
    """Keeps what has ended until its successor has begun, or has come to nothing.

    Args:
        directory: where the sessions are.
        index: finds both.
        words: says of a successor that has come to nothing that it is evicted.
        gone: counts that one for as long as it is mapped.
        expire: removes a session that has ended.
    """

    def __init__(
        self,
        directory: RuntimeDirectory,
        index: Index,
        words: SegmentWords,
        gone: Gone,
        expire: Callable[[Session], None],
    ) -> None:
        self._directory = directory
        self._index = index
        self._words = words
        self._gone = gone
        self._expire = expire

    def is_kept(self, session: Session | None) -> bool:
        """Whether this is to be kept when a pending stream takes its place.

        It has ended, and was an answer: what was cancelled before it began is none.
        """
        return (
            session is not None
            and session.reader.producer_state.final
            and bool(session.segment.content_type)
            and self._index.kept(session.key) is None
        )

    def keep(self, session: Session, path: Path) -> None:
        """Keep a session whose only name is this one by now."""
        self._index.set_aside(session)
        session.file = path.name

    def settle_all(self) -> None:
        """Decide on everything that is kept and can be decided on."""
        for key in self._index.kept_keys():
            self.settle(key)

    def settle(self, key: Key) -> None:
        """Evict what is kept of this key, or restore it, once its successor says which.

        Raises:
            OSError: it cannot be restored; it is still kept.
        """
        kept = self._index.kept(key)
        if kept is None:
            return
        successor = self._index.get(key)
        if successor is None or successor.never_began:
            self.restore(key)
        elif successor.has_begun:
            self._expire(kept)

    def restore(self, key: Key) -> bool:
        """Give what is kept of this key its name back, in its successor's place.

        Returns:
            Whether anything was kept.

        Raises:
            OSError: it cannot be renamed; it is still kept.
        """
        kept = self._index.kept(key)
        if kept is None:
            return False
        successor = self._index.get(key)
        aside: Path | None = None
        if successor is not None:
            self._words.cancel_and_evict(successor)
            try:
                aside = self._gone.link(successor)
            except OSError as ex:
                # Its memory, one extent, is not counted until its producer lets go.
                log.warning('%s cannot be put aside: %s', kept.digest, ex.strerror)
        # Over its successor: there is no moment at which nothing is found.
        os.rename(
            self._directory.segment(kept.file), self._directory.segment(kept.digest)
        )
        kept.file = kept.digest
        if successor is not None:
            self._index.drop(successor)
        self._index.put_back(kept)
        if aside is not None:
            self._gone.keep(aside, key[0])
        return True
