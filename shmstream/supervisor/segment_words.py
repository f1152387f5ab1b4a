"""The supervisor's own words in a segment: cancelled, and evicted.

After the supervisor has written one, it rings the processes that follow the stream, and
on a cancel the producer's process too.
"""

from __future__ import annotations

from shmstream import clock
from shmstream.logs.cause import Cause
from shmstream.memory.segment import Segment
from shmstream.memory.worker_table import WorkerTable
from shmstream.metrics.counts import Counts
from shmstream.ring.layout import W_CANCELLED, W_CANCELLED_BY, W_EVICTED
from shmstream.supervisor.session import Session
from shmstream.wakeups.producer_side import ring_everybody
from shmstream.wakeups.ring_others import Bells


class SegmentWords:
    """Writes these two words, and rings the processes that have to see them.

    Args:
        table: the worker table.
        counts: counts the rings.
    """

    def __init__(self, table: WorkerTable, counts: Counts) -> None:
        self._table = table
        self._bells = Bells(table, counts=counts)

    def cancel(self, session: Session, why: Cause) -> None:
        """Tell the producer of a session to stop."""
        self._mark(session, why, evict=False)

    def evict(self, session: Session) -> None:
        """Mark a session as evicted: nobody finds it under its id any more."""
        self._mark(session, None, evict=True)

    def cancel_and_evict(self, session: Session, why: Cause) -> None:
        """Do both; the processes that follow are rung only once."""
        self._mark(session, why, evict=True)

    def _mark(self, session: Session, cancel: Cause | None, *, evict: bool) -> None:
        now = clock.now_ns()
        words = session.segment.words
        if cancel is not None and not words[W_CANCELLED]:
            # Why comes first: the producer may look at any moment.
            words[W_CANCELLED_BY] = cancel
            words[W_CANCELLED] = now
        if evict:
            words[W_EVICTED] = now
        self.ring(session.segment)
        if cancel is not None and not session.reader.finished:
            slot = self._table.slot_of(session.producer_epoch)
            if slot is not None:
                self._table.count_cancel(slot)
                self._bells.ring(slot)

    def ring(self, segment: Segment) -> None:
        """Ring all processes that follow a segment."""
        ring_everybody(segment, self._bells)

    def close(self) -> None:
        """Close the bells: nobody is rung any more."""
        self._bells.close()
