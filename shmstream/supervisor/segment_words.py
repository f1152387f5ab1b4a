"""The supervisor's own words in a segment: cancelled, and evicted.

It rings whoever follows, and the producer if that is to stop.
"""

from __future__ import annotations

from shmstream import clock
from shmstream.memory.segment import Segment
from shmstream.memory.worker_table import WorkerTable
from shmstream.ring.layout import W_CANCELLED, W_EVICTED
from shmstream.supervisor.session import Session
from shmstream.wakeups.producer_side import ring_everybody
from shmstream.wakeups.ring_others import Bells


class SegmentWords:
    """Writes those words, and rings who has to see them.

    Args:
        table: the workers, to ring those that follow or produce.
    """

    def __init__(self, table: WorkerTable) -> None:
        self._table = table
        self._bells = Bells(table)

    def cancel(self, session: Session) -> None:
        """Cancel it: the producer is to stop."""
        self._mark(session, cancel=True, evict=False)

    def evict(self, session: Session) -> None:
        """Say that it is not to be found under its id any more."""
        self._mark(session, cancel=False, evict=True)

    def cancel_and_evict(self, session: Session) -> None:
        """Both at once."""
        self._mark(session, cancel=True, evict=True)

    def _mark(self, session: Session, *, cancel: bool, evict: bool) -> None:
        now = clock.now_ns()
        words = session.segment.words
        if cancel and not words[W_CANCELLED]:
            words[W_CANCELLED] = now
        if evict:
            words[W_EVICTED] = now
        self.ring(session.segment)
        if cancel and not session.reader.producer_state.final:
            slot = self._table.slot_of(session.producer_epoch)
            if slot is not None:
                self._table.count_cancel(slot)
                self._bells.ring(slot)

    def ring(self, segment: Segment) -> None:
        """Ring all who follow it."""
        ring_everybody(segment, self._bells)

    def close(self) -> None:
        """Ring nobody any more."""
        self._bells.close()
