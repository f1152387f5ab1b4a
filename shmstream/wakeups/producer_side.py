"""The producer's side: it marks the boards of processes that follow, and rings them.

It rings only processes that nap. The supervisor leaves no marks: it rings all processes
that follow.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

from shmstream.chance import random_bits
from shmstream.memory.segment import Segment
from shmstream.memory.worker_table import PLACES
from shmstream.ring.fence import fence_after_release, make_fence
from shmstream.ring.layout import B_PLACES, MAX_SLOTS, W_GENERATION, WORD
from shmstream.wakeups.ring_others import Bells


class Marker:
    """The producer's side of one segment: marks boards, and rings processes.

    ``shared_board`` draws the protocol. One thread at a time may call ``mark``, under a
    lock whose release is part of the fence; several threads may call ``ring`` at once.

    Args:
        segment: the segment.
        bells: the bells of the other processes.

    Attributes:
        marks: indices of the words that are marked, one for each process known to
            follow.
    """

    def __init__(self, segment: Segment, bells: Bells) -> None:
        self._segment = segment
        self._bells = bells
        self._words = bells.table.words
        self._copy_places: Callable[[], bytes] = segment.view[B_PLACES].tobytes
        self._known = bytes(WORD * MAX_SLOTS)
        self._fence = fence_after_release()
        # Different for each segment, so that a place which goes from one segment to
        # another changes with the first mark of the new one.
        self._salt: int = segment.words[W_GENERATION]
        self.marks: list[int] = []
        self._naps: list[tuple[int, int, int]] = []
        self._here: list[int] = []
        self._followed = False
        self._rung_naps = bells.rung_naps
        # Reentrant: a signal handler may end the stream while ``_learn`` holds it.
        self._learning = threading.RLock()

    def mark(self, head: int) -> None:
        """Mark the boards after publishing ``head``; call ``ring`` after the lock."""
        mark = head ^ self._salt
        for place in self.marks:
            self._words[place] = mark

    def ring(self) -> None:
        """Ring processes that follow and nap; after ``mark`` and the lock's release.

        Makes one system call for each nap of a process that follows, however many of
        this process's streams it follows; and one if a thread or another event loop of
        this process has to be woken. Otherwise it makes none.
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
            if nap and nap != self._rung_naps[slot]:
                if self._bells.table.epoch(slot) != epoch:
                    # The slot belongs to another worker by now, which does not follow:
                    # learn anew at the next ``ring``.
                    self._known = b''
                    continue
                self._bells.ring(slot, nap)
                self._rung_naps[slot] = nap
        for place in self._here:
            self._bells.mark_here(place)

    def mark_state(self, state: int) -> None:
        """Mark and ring after a state has been published; under the lock."""
        # As a mark this differs from all heads, which are smaller.
        self.mark((1 << 64) - 1 - state)
        make_fence()()
        self.ring()

    def _learn(self) -> None:
        # One thread at a time, so that the lists below are all of one copy.
        with self._learning:
            places = self._copy_places()
            table = self._bells.table
            found = self._segment.places(places, table.epoch)
            self._followed = bool(found)
            own = self._bells.own_slot
            here = None if own is None else found.pop(own, None)
            # In this order, because another thread may mark or ring meanwhile.
            self._here = [] if here is None else [here]
            self.marks = [table.place_at(s, p) for s, p in found.items() if p < PLACES]
            self._naps = [(s, table.nap_at(s), table.epoch(s)) for s in found]
            for place in self.marks:
                # A random mark, unlike any that the place has had before, also if it
                # was this segment's already.
                self._words[place] = random_bits(64)
            make_fence()()
            self._known = places


def ring_everybody(segment: Segment, bells: Bells) -> None:
    """Have all processes that follow look at all their streams; supervisor only.

    Call it after storing the words that they have to see.
    """
    make_fence()()
    for slot in segment.places(segment.view[B_PLACES].tobytes(), bells.table.epoch):
        bells.table.count_look(slot)
        bells.ring(slot)
