"""How many followers a segment has: each worker publishes its own count in the header.

Each word carries a tag of its worker's epoch (``ring.layout``), so that a count that a
dead worker has left is ignored.

How many followers a segment ever had is counted in other words, without a tag: a worker
adds to what earlier workers of its slot have left there.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

from shmstream.ring.layout import EPOCH_TAG, MAX_SLOTS, W_FOLLOWERS, W_SERVED

_RESUMED = 1 << 32


class FollowerCount:
    """The followers of one segment; thread-safe.

    Args:
        words: the segment's header as u64 words.
    """

    def __init__(self, words: memoryview) -> None:
        self._words = words
        self._here = 0
        # Reentrant: while the lock is held, a garbage collection may close a follower.
        self._lock = threading.RLock()

    def add(self, slot: int, epoch: int, step: int) -> None:
        """Publish that this process has one follower more or less.

        Args:
            slot: the slot of this process.
            epoch: the epoch of this process.
            step: 1, -1, or 0 if only the slot has changed.
        """
        with self._lock:
            self._here += step
            self._words[W_FOLLOWERS + slot] = epoch & EPOCH_TAG | self._here

    def serve(self, slot: int, resumed: bool) -> None:
        """Count a follower that begins, in the words that never become less.

        Args:
            slot: the slot of this process.
            resumed: whether the follower begins after the stream's beginning.
        """
        with self._lock:
            at = W_SERVED + slot
            # A damaged word must not stop a follower.
            count = self._words[at] + 1 + resumed * _RESUMED
            self._words[at] = count % (1 << 64)

    def served(self) -> tuple[int, int]:
        """Return how many followers there ever were, and how many of them resumed."""
        counts = self._words[W_SERVED : W_SERVED + MAX_SLOTS].tolist()
        return sum(n % _RESUMED for n in counts), sum(n // _RESUMED for n in counts)

    def everywhere(self, epoch_of: Callable[[int], int]) -> int:
        """Return the sum over all workers that are alive.

        Args:
            epoch_of: the epoch of the worker in a slot, 0 if there is none.
        """
        total = 0
        for slot in range(MAX_SLOTS):
            word = self._words[W_FOLLOWERS + slot]
            count = word & ~EPOCH_TAG
            if count and word & EPOCH_TAG == epoch_of(slot) & EPOCH_TAG:
                total += count
        return total
