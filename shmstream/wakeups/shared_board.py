"""The board of a process: which of the streams that the process follows have changed.

A ring only says that some stream has changed, and looking at every stream at each ring
would cost too much. So each segment that a process follows has a *place* on the board
of the process (one word in the worker table), where the segment's producer leaves a
*mark*. One more word, the nap word, says whether the process naps::

    follower, once per segment            producer, per append
    store place in the segment            publish head
    full fence                            store mark on each board known to it
    take the first snapshot of head       full fence
                                          load places -> mark and fence anew if changed
    process, about to nap                 load nap    -> ring if it is a new number
    store nap = a number never used
    full fence
    collect marks -> do not nap if any

* A process that is awake collects the marks on a short tick, and nobody rings it. A
  process that naps is rung once per nap by each process that produces.
* A mark is only a hint that the segment has changed. Only the segment's producer writes
  it, and nobody clears it: the board remembers the last value that it saw.
* A nap ends when the nap word becomes 0 or a newer number. That happens after every
  ring: a producer rings only once for a number, so no number may stay after its ring.

All hubs of a process share its board. The process naps when none of its hubs is awake.
An awake hub collects for all hubs; the hubs whose streams have changed then look.

The lowest bit of the nap number says how to ring. 0: post the process's semaphore, on
which its doorbell's thread waits. 1: write to the process's pipe, on which its only
following event loop waits, which saves the wake-up of a thread. After either, the
process collects (``collect_on_ring``).

Producers leave no marks for followers of their own process, and do not ring it: they
mark the watches of their streams directly (``mark_here``).
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable
from heapq import heappop, heappush
from typing import Protocol

from shmstream.chance import random_bits
from shmstream.memory.segment import Segment
from shmstream.memory.worker_table import PLACES, WorkerTable
from shmstream.metrics.catalogue import NAPS
from shmstream.metrics.counts import Counts
from shmstream.ring.fence import make_fence
from shmstream.ring.layout import WORD

_BLOCK = 32
"""Places that are compared at once: a quiet board costs one comparison per block."""

STALE_S = 0.1
"""If no awake hub has collected for this long, the process relies on none of them."""

BY_PIPE = 1
"""The bit of a nap number that says: ring by the pipe."""

_WORD_BITS = 8 * WORD

_NAPS = NAPS.at

_CROWD = PLACES - 1
"""The place that all segments share when no other place is left: a mark there is a mark
for each of them."""


class Placed(Protocol):
    """A watch of a segment: it is marked when the segment has changed."""

    segment: Segment

    def mark(self, here: bool = False) -> bool:
        """Note that the segment may have changed; from any thread.

        Args:
            here: whether a producer of this process calls this; it rings nobody.

        Returns:
            False if it was marked already, and nobody has looked since.
        """


class Board:
    """One process's board. Thread-safe: a method waits only while another one runs.

    Args:
        table: the worker table.
        slot: the slot of this process.
        epoch: the epoch of this process.
        counts: counts the naps, and what the hubs of this board deliver.

    Attributes:
        counts: see above.
    """

    def __init__(
        self,
        table: WorkerTable,
        slot: int,
        epoch: int,
        counts: Counts | None = None,
    ) -> None:
        self.counts = counts or Counts()
        # Reentrant: while the lock is held, a garbage collection may close a follower.
        self._lock = threading.RLock()
        self._fence = make_fence()
        self._awake: set[object] = set()
        self._collected_at = 0.0
        # The tuples are replaced, never changed, because ``mark_here`` takes no lock.
        self._placed: dict[int, tuple[Placed, ...]] = {}
        self._pipe_hub: object = None
        self._following: Counter[object] = Counter()
        self._place_of: dict[tuple[int, int], int] = {}
        # The lowest place goes first, because only the blocks up to the last one in use
        # are compared.
        self._free = list(range(_CROWD))
        self._in_block = [0] * (PLACES // _BLOCK)
        self._top = 0
        self._nap = 2 * random_bits(48) + 2
        self._use(table, slot, epoch)

    def _use(self, table: WorkerTable, slot: int, epoch: int) -> None:
        self._slot, self._epoch = slot, epoch
        self._words = table.words
        self._nap_at = table.nap_at(slot)
        first = table.place_at(slot, 0) * WORD
        view = self._words.cast('B')
        size = _BLOCK * WORD
        self._blocks: list[Callable[[], bytes]] = [
            view[at : at + size].tobytes
            for at in range(first, first + PLACES * WORD, size)
        ]
        self._seen = [block() for block in self._blocks]
        if not self._awake:
            # The nap word still holds 0, or a number of the slot's last worker: nobody
            # would ring for either.
            self._renew_nap()

    def move(self, table: WorkerTable, slot: int, epoch: int) -> None:
        """Move to the board of the process's new slot; all places stay the same."""
        with self._lock:
            self._use(table, slot, epoch)
            for place, everyone in list(self._placed.items()):
                for placed in everyone:
                    placed.segment.set_place(slot, epoch, place)
            self._fence()
            for everyone in list(self._placed.values()):
                for placed in everyone:
                    placed.mark()

    def ring_by_pipe(self, hub: object) -> None:
        """Have others ring by the pipe, on which this hub's loop waits.

        Args:
            hub: the hub; None: no loop waits on the pipe any more.
        """
        with self._lock:
            self._pipe_hub = hub
            if self.naps:
                self._renew_nap()

    def enter(self, placed: Placed, hub: object = None) -> None:
        """Begin to follow a segment: each change from now on is marked.

        Args:
            placed: the watch of the segment.
            hub: the hub of the watch.
        """
        segment = placed.segment
        with self._lock:
            self._following[hub] += 1
            if hub is not self._pipe_hub and self._words[self._nap_at] & BY_PIPE:
                # Now another hub follows too, and the loop on the pipe may be busy. So
                # others have to ring by the semaphore.
                self._renew_nap()
            place = self._place_of.get(segment.identity)
            if place is None:
                place = heappop(self._free) if self._free else _CROWD
                self._place_of[segment.identity] = place
                self._in_block[place // _BLOCK] += 1
                self._top = max(self._top, place // _BLOCK + 1)
                segment.set_place(self._slot, self._epoch, place)
            self._placed[place] = (*self._placed.get(place, ()), placed)
            self._fence()

    def leave(self, placed: Placed, hub: object = None) -> None:
        """Undo ``enter``."""
        segment = placed.segment
        with self._lock:
            self._following[hub] -= 1
            if not self._following[hub]:
                del self._following[hub]
            place = self._place_of[segment.identity]
            everyone = tuple(p for p in self._placed[place] if p is not placed)
            self._placed[place] = everyone
            if any(other.segment.identity == segment.identity for other in everyone):
                return
            if self._place_of.pop(segment.identity, None) is None:
                return
            segment.set_place(self._slot, self._epoch, None)
            if not everyone:
                self._placed.pop(place, None)
            if place != _CROWD:
                heappush(self._free, place)
            self._in_block[place // _BLOCK] -= 1
            while self._top and not self._in_block[self._top - 1]:
                self._top -= 1

    def stay_awake(self, hub: object) -> None:
        """Note that this hub is awake: it collects, so others need not ring."""
        with self._lock:
            self._collected_at = time.monotonic()
            self._awake.add(hub)
            self._words[self._nap_at] = 0

    def nap(self, hub: object) -> None:
        """Note that this hub collects no more; if no other hub is awake, begin a nap.

        Marks that have come by now are collected.
        """
        with self._lock:
            self._awake.discard(hub)
            if not self._awake:
                self._renew_nap()

    @property
    def naps(self) -> bool:
        """Whether the process naps: the nap word has a number to ring for."""
        return bool(self._words[self._nap_at])

    def mark_here(self, place: int) -> None:
        """Mark the watches of this place, for a producer of this process."""
        for placed in self._placed.get(place, ()):
            placed.mark(here=True)

    def collect_on_ring(self) -> None:
        """Collect after a ring, unless an awake hub does so anyway."""
        with self._lock:
            if self._awake:
                if time.monotonic() - self._collected_at < STALE_S:
                    return
                # The loops of the awake hubs are blocked, or run no more: do not rely
                # on them.
                self._awake.clear()
            # No nap until the marked hubs have looked: each of them stays awake then,
            # or naps again. If nothing is marked, the process naps again at once.
            self._words[self._nap_at] = 0
            if not self._collect():
                self._renew_nap()

    def collect(self, hub: object = None) -> None:
        """Mark the watches of all segments that have been marked since the last call.

        Args:
            hub: the awake hub that calls this, and will call it again; or None.
        """
        with self._lock:
            if hub is not None:
                self._collected_at = time.monotonic()
                if hub not in self._awake:
                    self._awake.add(hub)
                    self._words[self._nap_at] = 0
            self._collect()

    def _renew_nap(self) -> None:
        self._nap += 2
        self.counts.words[_NAPS] += 1
        alone = self._following.keys() <= {self._pipe_hub}
        by_pipe = self._pipe_hub is not None and alone
        self._words[self._nap_at] = self._nap | (BY_PIPE if by_pipe else 0)
        self._fence()
        self._collect()

    def _collect(self) -> bool:
        marked = False
        blocks, seen = self._blocks, self._seen
        for number in range(self._top):
            now = blocks[number]()
            before = seen[number]
            if now != before:
                seen[number] = now
                marked |= self._mark_watches(number * _BLOCK, before, now)
        return marked

    def _mark_watches(self, first: int, before: bytes, now: bytes) -> bool:
        marked = False
        changed = int.from_bytes(before, 'little') ^ int.from_bytes(now, 'little')
        while changed:
            at = ((changed & -changed).bit_length() - 1) // _WORD_BITS
            changed &= -1 << (at + 1) * _WORD_BITS
            for placed in self._placed.get(first + at, ()):
                marked |= placed.mark()
        return marked
