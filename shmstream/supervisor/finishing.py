"""Ending the streams of producers that have died (which to look at: ``deaths``).

The kernel decides: whoever can take a segment's lock knows that nobody holds it, and is
its only writer then.
"""

from __future__ import annotations

import fcntl
import os

from shmstream.errors import LayoutMismatch, StreamNotFound
from shmstream.memory.directory import RuntimeDirectory
from shmstream.memory.segment import open_segment
from shmstream.memory.segment_writer import segment_writer
from shmstream.ring.state import State
from shmstream.stream_end import DIED, end_stream
from shmstream.supervisor.index import Index
from shmstream.supervisor.segment_words import SegmentWords
from shmstream.supervisor.session import Session


class Finishing:
    """Ends them.

    Args:
        directory: where they are.
        index: loses those whose files have been removed.
        words: writes what their followers see, and rings them.
    """

    def __init__(
        self, directory: RuntimeDirectory, index: Index, words: SegmentWords
    ) -> None:
        self._directory = directory
        self._index = index
        self._words = words

    def finish_those(self, sessions: list[Session]) -> int:
        """Abort those whose producer has died; return how many.

        Raises:
            OSError: one of them cannot be looked at; all others have been.
        """
        aborted = 0
        failed: OSError | None = None
        for session in sessions:
            try:
                if not session.reader.producer_state.final and self.finish(session):
                    aborted += 1
            except OSError as ex:
                # The others' turn comes first.
                failed = ex
        if failed is not None:
            raise failed
        return aborted

    def finish(self, session: Session) -> bool:
        """End a stream if its producer has died; return whether that was so.

        Raises:
            OSError: its file cannot be looked at.
        """
        try:
            fd = open_segment(self._directory.segment(session.file))
        except (StreamNotFound, LayoutMismatch):
            # Somebody removed the file; its followers have their mappings.
            self._index.drop(session)
            self._words.cancel_and_evict(session)
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
                end_stream(segment, segment_writer(segment, fd), State.ABORTED, DIED)
            self._words.ring(segment)
            return True
        finally:
            os.close(fd)
