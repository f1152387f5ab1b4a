"""Ringing the bells of those who sleep on a segment; the producer's side."""

from __future__ import annotations

import contextlib
import logging
import os
import threading
from collections.abc import Callable

import posix_ipc

from shmstream.chance import random_bits
from shmstream.memory.segment import Segment
from shmstream.memory.table import PLACES, WorkerTable
from shmstream.ring.fence import fence_after_release, make_fence
from shmstream.ring.layout import B_PLACES, MAX_SLOTS, W_GENERATION, WORD
from shmstream.wakeups.board import BY_PIPE
from shmstream.wakeups.pipe import open_pipe, pipe_path
from shmstream.wakeups.semaphore import post, semaphore_name

log = logging.getLogger('shmstream')


class Bells:
    """The bells of all workers, opened at their first ring. Thread-safe.

    Args:
        table: the worker table.
        own: slot and epoch of this process, None if it follows nothing.
        tell: what its own producers do instead of ringing: takes a place.

    Attributes:
        table: the worker table.
        tell: see above.
        rung: the nap that each slot has been rung for, by any stream of this process.
    """

    def __init__(
        self,
        table: WorkerTable,
        own: tuple[int, int] | None = None,
        tell: Callable[[int], None] = lambda place: None,
    ) -> None:
        self.table = table
        self.tell = tell
        self._own = own
        self._open: dict[int, _Bell] = {}
        self.rung = [0] * MAX_SLOTS
        # Held around use as well as close: closing a semaphore under a thread that
        # uses it crashes the process. Reentrant: a signal handler may ring as well.
        self._lock = threading.RLock()

    @property
    def own_slot(self) -> int | None:
        """The slot of this process, as long as it is."""
        if self._own is None:
            return None
        slot, epoch = self._own
        return slot if self.table.epoch(slot) == epoch else None

    def ring(self, slot: int, nap: int = 0) -> None:
        """Wake the worker in this slot; does nothing if there is none.

        Args:
            slot: whose.
            nap: the number that it naps with, which says how; by the semaphore if 0.
        """
        with self._lock:
            try:
                bell = self._bell(slot)
                if bell is not None:
                    bell.ring(bool(nap & BY_PIPE))
            except (OSError, posix_ipc.Error) as ex:
                # Without descriptors it cannot be rung, nor once a signal handler has
                # closed it: the bytes are there, and it looks for itself.
                log.warning('slot %d cannot be rung: %s', slot, ex)

    def _bell(self, slot: int) -> _Bell | None:
        epoch = self.table.epoch(slot)
        known = self._open.get(slot)
        if known is not None:
            if known.epoch == epoch:
                return known
            self._open.pop(slot, None)
            known.close()
        if not epoch:
            return None
        try:
            bell = _Bell(self.table, epoch)
        except posix_ipc.ExistentialError:
            return None
        self._open[slot] = bell
        return bell

    def close(self) -> None:
        """Close all of them."""
        with self._lock:
            while self._open:
                self._open.popitem()[1].close()


class _Bell:
    """One worker's semaphore, and its pipe once that is needed."""

    def __init__(self, table: WorkerTable, epoch: int) -> None:
        # First: ``__del__`` runs even if there is no such semaphore.
        self._fd = -1
        self.epoch = epoch
        self._pipe = pipe_path(table, epoch)
        self._semaphore = posix_ipc.Semaphore(semaphore_name(table.token, epoch))

    def ring(self, by_pipe: bool) -> None:
        if by_pipe and self._write():
            return
        post(self._semaphore)

    def _write(self) -> bool:
        try:
            if self._fd < 0:
                self._fd = open_pipe(self._pipe)
            os.write(self._fd, b'!')
        except BlockingIOError:
            # Full: it has been ringing for a while.
            return True
        except OSError:
            return False
        return True

    def close(self) -> None:
        with contextlib.suppress(posix_ipc.ExistentialError):  # it has been closed
            self._semaphore.close()
        self._close_pipe()

    def _close_pipe(self) -> None:
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)

    def __del__(self) -> None:
        # After a fork, or when the process has another slot, nobody calls ``close``.
        self._close_pipe()


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
        self._here: list[int] = []
        self._followed = False
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

        No system call unless another process that follows naps, and then one for each
        nap, however many streams of this process it follows; or unless another thread
        of this process follows.
        """
        if self._fence is not None:
            self._fence()
        if self._copy_places() != self._known:
            self._learn()
        if self._followed:
            self._ring_who_naps()

    def _ring_who_naps(self) -> None:
        for slot, at, epoch in self._naps:
            nap = self._words[at]
            if nap and nap != self._rung[slot]:
                if self._bells.table.epoch(slot) != epoch:
                    # The slot is another worker's by now, which does not follow.
                    self._known = b''
                    continue
                self._bells.ring(slot, nap)
                self._rung[slot] = nap
        for place in self._here:
            self._bells.tell(place)

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
            self._followed = bool(found)
            own = self._bells.own_slot
            here = None if own is None else found.pop(own, None)
            # In this order, for whoever marks or rings in another thread meanwhile.
            self._here = [] if here is None else [here]
            self.marks = [table.place_at(s, p) for s, p in found.items() if p < PLACES]
            self._naps = [(s, table.nap_at(s), table.epoch(s)) for s in found]
            for place in self.marks:
                # Unlike any before, also if this segment has had the place already.
                self._words[place] = random_bits(64)
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
