"""Ending the streams of producers that have died; ``deaths`` says which to check.

The kernel decides: if the supervisor gets a segment's lock, the producer has died or
ended, and the supervisor is the segment's only writer.
"""

from __future__ import annotations

import fcntl
import logging
import os

from shmstream.errors import LayoutMismatch, StreamNotFound
from shmstream.logs.cause import Cause
from shmstream.logs.life_line import tell, told
from shmstream.memory.directory import RuntimeDirectory
from shmstream.memory.segment import Segment, open_segment
from shmstream.memory.segment_writer import segment_writer
from shmstream.metrics.catalogue import BYTES, ENDED
from shmstream.metrics.counts import Counts
from shmstream.ring.layout import COUNTED, W_CAUSE, W_COUNTED
from shmstream.ring.state import State
from shmstream.stream_end import DIED, end_stream
from shmstream.supervisor.index import Index
from shmstream.supervisor.segment_words import SegmentWords
from shmstream.supervisor.session import Session

log = logging.getLogger('shmstream.supervisor')


class Finishing:
    """Ends the streams of producers that have died.

    Args:
        directory: the runtime directory.
        index: loses the sessions whose files have been removed.
        words: cancels and evicts sessions, and rings their followers.
        counts: the supervisor's own words.
    """

    def __init__(
        self,
        directory: RuntimeDirectory,
        index: Index,
        words: SegmentWords,
        counts: Counts,
    ) -> None:
        self._counts = counts
        self._directory = directory
        self._index = index
        self._words = words

    def finish_those(self, sessions: list[Session]) -> int:
        """Abort those of the sessions whose producer has died; return how many.

        Raises:
            OSError: one session could not be checked; all others have been.
        """
        aborted = 0
        failed: OSError | None = None
        for session in sessions:
            try:
                if session.reader.finished and told(session.segment):
                    self._index.deaths.drop(session)
                elif self.finish(session):
                    aborted += 1
            except OSError as ex:
                # Raised once all other sessions have been checked.
                failed = ex
            except Exception:
                # A mistake with one stream must not keep all others live.
                log.exception('stream %s is not ended', session.segment.generation)
        if failed is not None:
            raise failed
        return aborted

    def finish(self, session: Session) -> bool:
        """End a session's stream if its producer has died; return whether it has died.

        Raises:
            OSError: the segment's file cannot be opened.
        """
        try:
            fd = open_segment(self._directory.segment(session.file))
        except (StreamNotFound, LayoutMismatch):
            if session.reader.finished:
                # Only the line about it is missing, and its lock cannot be had.
                self._index.deaths.drop(session)
                return False
            # The file was removed by hand: cancel the stream for all that map it.
            self._index.drop(session)
            self._words.cancel_and_evict(session, Cause.REMOVED)
            return False
        try:
            found = os.fstat(fd)
            if (found.st_dev, found.st_ino) != session.segment.identity:
                return False
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return False
            segment = session.segment
            died = not session.reader.finished
            if died:
                end_dead(segment, fd)
                self._words.ring(segment)
            # The producer may have died between the end and the line about it.
            count_end(segment, self._counts)
            tell(segment)
            return died
        finally:
            os.close(fd)


def end_dead(segment: Segment, fd: int) -> None:
    """End the stream of a producer that has died, for the holder of its lock.

    Args:
        segment: the segment of the stream, which has not ended.
        fd: the descriptor that holds the lock.
    """
    writer = segment_writer(segment, fd)
    if segment.cancelled:
        end_stream(segment, writer, State.CANCELLED)
    else:
        end_stream(segment, writer, State.ABORTED, DIED)


def count_end(segment: Segment, counts: Counts) -> None:
    """Count an end, and the bytes that its producer has not counted any more.

    Does nothing if the end is counted: by its producer, or by an earlier supervisor.

    Args:
        segment: the segment of a stream that has ended; the caller holds its lock.
        counts: the supervisor's own words.
    """
    state = segment.reader.producer_state
    if segment.words[W_CAUSE] & COUNTED or not state.final:
        return
    head = segment.reader.total_bytes
    uncounted = max(head - segment.words[W_COUNTED], 0)
    segment.words[W_COUNTED] = head
    counts.words[BYTES.of('in')] += uncounted
    counts.words[ENDED.of(state.label)] += 1
    segment.words[W_CAUSE] |= COUNTED
