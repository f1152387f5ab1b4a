"""The board: which of the streams that this process follows have changed.

A ring says that something has changed, not what; looking at every stream would make one
wake-up as dear as all streams together. So each segment that a process follows has a
*place* on the board of the process (one word in the worker table), where the segment's
producer leaves a *mark*, and one more word says whether the process naps::

    follower, once per segment            producer, per append
    store place in the segment            publish head
    full fence                            store mark on each board known to it
    take the first snapshot of head       full fence
                                          load places -> mark and fence anew if changed
    process, about to nap                 load nap    -> ring if it is a new number
    store nap = a number never used
    full fence
    collect marks -> do not nap if any

A process that is awake collects the marks on a short tick, and nobody rings it. One
that naps is rung once per nap and producer. A mark is only a hint: what has happened is
in the segment. It is a word of the segment's one producer, and is never cleared: the
board remembers what it saw last. A nap ends with the nap word at 0, or with a newer
number. It ends after every ring, so that no number outlives the ring that was spent on
it.

All hubs of a process share its board. The process naps when none of them is awake; a
hub that is awake collects for all, and has those look whose streams have changed.

The lowest bit of a nap's number says how to ring: 0, post the process's semaphore, on
which its doorbell thread waits; 1, write to its pipe, on which the one event loop that
follows waits by itself, which saves a thread's wake-up. Either way the process collects
(``collect_on_ring``).

Producers of the process itself leave no marks in shared memory, and ring nobody: they
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
from shmstream.ring.fence import make_fence
from shmstream.ring.layout import WORD

_BLOCK = 32
"""Places that are compared at once: a look at a quiet board is one step for each."""

STALE_S = 0.1
"""A hub that is awake and has not collected for as long is not counted on any more."""

BY_PIPE = 1
"""Bit of a nap number: ring by the pipe."""

_WORD_BITS = 8 * WORD

_CROWD = PLACES - 1
"""The place of all segments for which there is none left: marked, all are looked at."""


class Placed(Protocol):
    """Whatever watches a segment, and is marked when that has changed."""

    segment: Segment

    def mark(self, here: bool = False) -> bool:
        """The segment may have changed. From any thread.

        Args:
            here: by a producer of this process, which rings nobody.

        Returns:
            Whether that is new: False if it was marked before, and nobody has looked.
        """


class Board:
    """One process's board. Thread-safe; no method waits for more than another one.

    Args:
        table: the worker table.
        slot: the slot of this process.
        epoch: its epoch.
    """

    def __init__(self, table: WorkerTable, slot: int, epoch: int) -> None:
        # Reentrant: a garbage collection under it may close a follower.
        self._lock = threading.RLock()
        self._fence = make_fence()
        self._awake: set[object] = set()
        self._collected_at = 0.0
        # Replaced, never changed: ``mark_here`` takes no lock.
        self._placed: dict[int, tuple[Placed, ...]] = {}
        self._pipe_hub: object = None
        self._following: Counter[object] = Counter()
        self._place_of: dict[tuple[int, int], int] = {}
        # Lowest first: only the blocks up to the last one in use are looked at.
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
            # The slot's last worker left its number there, or 0: nobody would ring.
            self._renew_nap()

    def move(self, table: WorkerTable, slot: int, epoch: int) -> None:
        """The process has another slot now: take the same places on its board."""
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
        """Have others ring this hub's loop by the pipe; None: no loop's."""
        with self._lock:
            self._pipe_hub = hub
            if self.naps:
                self._renew_nap()

    def enter(self, placed: Placed, hub: object = None) -> None:
        """Have a segment's changes marked; what changes after this will be.

        Args:
            placed: what is marked.
            hub: whose it is.
        """
        segment = placed.segment
        with self._lock:
            self._following[hub] += 1
            if hub is not self._pipe_hub and self._words[self._nap_at] & BY_PIPE:
                # A loop that is busy would keep others waiting.
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
        """This hub is awake from now on: it collects, and nobody need ring."""
        with self._lock:
            self._collected_at = time.monotonic()
            self._awake.add(hub)
            self._words[self._nap_at] = 0

    def nap(self, hub: object) -> None:
        """This hub collects no more. What has been marked by now is collected."""
        with self._lock:
            self._awake.discard(hub)
            if not self._awake:
                self._renew_nap()

    @property
    def naps(self) -> bool:
        """Whether the number stands that the next to ring has to ring for."""
        return bool(self._words[self._nap_at])

    def mark_here(self, place: int) -> None:
        """A producer of this process has changed the segment that has this place."""
        for placed in self._placed.get(place, ()):
            placed.mark(here=True)

    def collect_on_ring(self) -> None:
        """Collect after a ring, unless a hub that is awake does so anyway."""
        with self._lock:
            if self._awake:
                if time.monotonic() - self._collected_at < STALE_S:
                    return
                # Their loops are blocked, or are run no more: the others do without.
                self._awake.clear()
            # A hub whose streams are marked stays awake, or naps again once it has
            # looked. Until then nobody need ring.
            self._words[self._nap_at] = 0
            if not self._collect():
                self._renew_nap()

    def collect(self, hub: object = None) -> None:
        """Mark every watch whose segment has been marked since the last time.

        Args:
            hub: who does it, if it is awake and will do it again.
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
