"""Ringing: post the doorbells of the workers that sleep on a segment."""

from __future__ import annotations

import errno
import logging
import secrets
import threading
from collections.abc import Callable

import posix_ipc

from shmstream.memory.segment import Segment
from shmstream.memory.table import PLACES, WorkerTable
from shmstream.ring.fence import fence_after_release, make_fence
from shmstream.ring.layout import B_PLACES, MAX_SLOTS, W_GENERATION, WORD

log = logging.getLogger('shmstream')


class Bells:
    """The doorbells of all workers, opened at their first ring. Thread-safe.

    Args:
        table: the worker table.
        own: slot and epoch of this process, None if it follows nothing.
        wake_own: what its own bell would lead to; called instead of ringing that, which
            is done after all if it returns False.

    Attributes:
        table: the worker table.
        rung: the nap that each slot has been rung for, by any stream of this process.
    """

    def __init__(
        self,
        table: WorkerTable,
        own: tuple[int, int] | None = None,
        wake_own: Callable[[], bool] | None = None,
    ) -> None:
        self.table = table
        self._own, self._wake_own = own, wake_own
        self._open: dict[int, tuple[int, posix_ipc.Semaphore]] = {}
        self.rung = [0] * MAX_SLOTS
        # Held around post as well as close: closing a semaphore under a thread that
        # uses it crashes the process.
        self._lock = threading.Lock()

    def ring(self, slot: int) -> None:
        """Wake the worker in this slot; does nothing if there is none."""
        # By the epoch as well: our slot may be somebody else's by now.
        # No system call and no other thread for who is in this very process.
        own = self._own == (slot, self.table.epoch(slot))
        if own and self._wake_own is not None and self._wake_own():
            return
        with self._lock:
            try:
                bell = self._bell(slot)
                if bell is not None:
                    bell.release()
            except OSError as ex:
                # At SEM_VALUE_MAX it has been ringing for a while. Without descriptors
                # it cannot be rung: the bytes are there, and it looks for itself.
                if ex.errno != errno.EOVERFLOW:
                    log.warning('slot %d cannot be rung: %s', slot, ex)

    def _bell(self, slot: int) -> posix_ipc.Semaphore | None:
        epoch = self.table.epoch(slot)
        known = self._open.get(slot)
        if known is not None:
            if known[0] == epoch:
                return known[1]
            known[1].close()
            del self._open[slot]
        if not epoch:
            return None
        try:
            bell = posix_ipc.Semaphore(self.table.semaphore_name(epoch))
        except posix_ipc.ExistentialError:
            return None
        self._open[slot] = (epoch, bell)
        return bell

    def close(self) -> None:
        """Close every semaphore."""
        with self._lock:
            for _, bell in self._open.values():
                bell.close()
            self._open.clear()


class Ringer:
    """The producer's side of one segment: marks the boards of who follows, and rings.

    ``board`` draws the protocol. ``mark`` belongs to one thread at a time, under a lock
    whose release is part of the fence; ``ring`` may run in several.

    Attributes:
        marks: where marks are left, as far as it is known.
    """

    def __init__(self, segment: Segment, bells: Bells) -> None:
        self._segment = segment
        self._bells = bells
        self._words = bells.table.words
        self._copy_places: Callable[[], bytes] = segment.view[B_PLACES].tobytes
        self._known = bytes(WORD * MAX_SLOTS)
        self._fence = fence_after_release()
        # No two segments mark alike: a place that changes hands shows each mark.
        self._salt: int = segment.words[W_GENERATION]
        self.marks: list[int] = []
        self._naps: list[tuple[int, int, int]] = []
        self._rung = bells.rung
        # A signal handler may end the stream in the middle of it.
        self._learning = threading.RLock()

    def mark(self, head: int) -> None:
        """Leave marks that head has been published; ``ring`` once the lock is free."""
        mark = head ^ self._salt
        for place in self.marks:
            self._words[place] = mark

    def ring(self) -> None:
        """Wake who follows and sleeps; after ``mark``, and after the lock's release.

        No system call unless a process that follows naps, and then one for each nap,
        however many streams of this process it follows.
        """
        if self._fence is not None:
            self._fence()
        if self._copy_places() != self._known:
            self._learn()
        for slot, at, epoch in self._naps:
            nap = self._words[at]
            if nap and nap != self._rung[slot]:
                if self._bells.table.epoch(slot) != epoch:
                    # The slot is another worker's by now, which does not follow.
                    self._known = b''
                    continue
                self._bells.ring(slot)
                self._rung[slot] = nap

    def ring_state(self, state: int) -> None:
        """Mark and ring for a state that has been published, under the lock."""
        # No head is as large.
        self.mark((1 << 64) - 1 - state)
        make_fence()()
        self.ring()

    def _learn(self) -> None:
        # One thread at a time: what two have copied must not be kept by halves.
        with self._learning:
            places = self._copy_places()
            table = self._bells.table
            found = self._segment.places(places, table.epoch)
            # In this order, for whoever marks or rings in another thread meanwhile.
            self.marks = [table.place_at(s, p) for s, p in found.items() if p < PLACES]
            self._naps = [(s, table.nap_at(s), table.epoch(s)) for s in found]
            for place in self.marks:
                # Unlike any before, also if this segment has had the place already.
                self._words[place] = secrets.randbits(64)
            make_fence()()
            self._known = places


def ring_everybody(segment: Segment, bells: Bells) -> None:
    """Have all who follow look at everything; supervisor only, which has no marks.

    After what they have to see has been stored.
    """
    make_fence()()
    for slot in segment.places(segment.view[B_PLACES].tobytes(), bells.table.epoch):
        bells.table.count_look(slot)
        bells.ring(slot)
