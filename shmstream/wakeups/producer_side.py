"""The producer's side: it marks the boards of those who follow, and rings who naps.

The supervisor, which has no marks, rings everybody who follows.
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
    """The producer's side of one segment: marks the boards of who follows, and rings.

    ``shared_board`` draws the protocol. ``mark`` belongs to one thread at a time, under
    a lock whose release is part of the fence; ``ring`` may run in several.

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
        self._rung_naps = bells.rung_naps
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
            if nap and nap != self._rung_naps[slot]:
                if self._bells.table.epoch(slot) != epoch:
                    # The slot is another worker's by now, which does not follow.
                    self._known = b''
                    continue
                self._bells.ring(slot, nap)
                self._rung_naps[slot] = nap
        for place in self._here:
            self._bells.mark_here(place)

    def mark_state(self, state: int) -> None:
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
