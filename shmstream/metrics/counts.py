"""The words of one process, which its code counts in.

``counts.words[AT] += n`` counts. It needs no lock, although threads share the words,
if ``AT`` is a constant and ``n`` a constant or a local name: CPython changes threads
after calls and jumps only, and there is none between the load and the store. An
argument that is computed by a call (``+= len(data)``) would lose counts.

Until the process has a slot, and after it has left, the words are private. What was
counted in private words is added to the block of the slot.
"""

from __future__ import annotations

from bisect import bisect_left

from shmstream.metrics.catalogue import BLOCK_WORDS, GAUGES, WORDS, Metric

TELL_S = 1.0
"""Seconds after which producers and followers are counted anew. What a process has
counted since then is lost if it is killed."""


def _private() -> memoryview:
    return memoryview(bytearray(BLOCK_WORDS * 8)).cast('Q')


class Counts:
    """Counts in the block of this process's slot, or in private words without one.

    Attributes:
        words: the words to count in. Load them anew each time: the slot may change.
    """

    __slots__ = ('_shared', 'words')

    def __init__(self) -> None:
        self.words = _private()
        self._shared = False

    def add(self, at: int, number: int = 1) -> None:
        """Add to one word."""
        self.words[at] += number

    def observe(self, metric: Metric, ns: int) -> None:
        """Count one duration in a histogram.

        Args:
            metric: the histogram.
            ns: the duration in nanoseconds; a negative one counts as 0.
        """
        took = ns if ns > 0 else 0
        at = metric.at + bisect_left(metric.bounds_ns, took)
        total = metric.at + metric.words - 1
        self.words[at] += 1
        self.words[total] += took

    def use(self, block: memoryview | None) -> None:
        """Count in this block from now on.

        Args:
            block: the block of the process's slot; None: private words, because the
                process has no slot any more, or because there is no file.
        """
        before, shared = self.words, self._shared
        words = _private() if block is None else block
        # From the next line on nobody counts in the words before.
        self.words = words
        self._shared = block is not None
        # The counters of a block stay where they are, and the supervisor adds them up.
        first = GAUGES if shared else 0
        for at in range(first, WORDS):
            number = before[at]
            words[at] += number

    def forget(self) -> None:
        """Count in private words from 0: after a fork the block is the parent's."""
        self.words = _private()
        self._shared = False
