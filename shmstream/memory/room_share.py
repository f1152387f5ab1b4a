"""How much memory the producers of a process may still take.

The supervisor knows how much memory all segments hold. A few times a second it evicts
what it can, and publishes how many bytes are left (``WorkerTable.room``, here called
the figure). Producers of different processes cannot count together without a lock, so
each process may spend its share of the figure until the next one comes. All shares
together are what is left, so the memory limit holds.

* A process that has spent half of its share asks the supervisor, in another thread, to
  publish a new figure. ``take`` itself never waits for it.
* A writer in a thread whose share is used up waits for the answer (``wait``, 250 ms at
  the most), without its stream's lock. A writer on an event loop waits only if it
  awaits ``Producer.drain`` between writes.
* On an event loop, ``take`` may exceed the share by one extent, out of what other
  processes leave of theirs. If several processes do so within one figure, the limit may
  be exceeded by one extent each; a single process never exceeds it.
* An extent that is taken while the supervisor measures is counted from the next figure
  on (``supervisor.eviction``).
* When no answer comes, only the file system is the limit, until the next figure shows
  that there is a supervisor: writing does not need one.

While several owners share the memory, the supervisor also publishes a figure for each
owner (``supervisor.shares``), in the segments of the owner's live streams. A process
may spend its share of that figure too, by the same rules.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable

from shmstream.memory.reservation import MAX_EXTENT
from shmstream.memory.segment import Segment
from shmstream.memory.worker_table import WorkerTable
from shmstream.ring.layout import W_OWNER_ROOM


class _Purse:
    """One share: what it allows, and what has been spent of it since the last figure.

    Attributes:
        spent: bytes spent since the last figure.
        since: those of them that were spent since the next measurement began.
        left: bytes that the figure says are left for all processes.
        share: bytes of ``left`` that are this process's.
    """

    def __init__(self) -> None:
        self.spent = 0
        self.since = 0
        self.left = 0
        self.share = 0

    def see(self, left: int, workers: int) -> None:
        """Note how many bytes are left. The figure may also shrink before the next."""
        self.left = left
        self.share = left // max(workers, 1)

    def spend(self, size: int, measuring: bool) -> None:
        """Spend ``size`` bytes; ``measuring``: the next figure is being measured."""
        self.spent += size
        self.since += size * measuring

    def renew(self, measured: bool) -> None:
        """Begin anew with a new figure.

        Args:
            measured: whether this process saw the measurement of this figure begin.
                Then the figure may miss the bytes spent since, and they stay spent.
        """
        self.spent, self.since = self.since * measured, 0

    def lacks(self, size: int) -> bool:
        """Whether the share does not have ``size`` bytes left."""
        return self.spent + size > self.share

    def can_lend(self, size: int) -> bool:
        """Whether ``size`` fits if ``left`` may lend the share one extent."""
        return self.spent + size <= min(self.left, self.share + MAX_EXTENT)

    @property
    def runs_low(self) -> bool:
        """Whether more than half of the share is spent."""
        return self.spent > self.share // 2


class RoomShare:
    """One process's share; thread-safe.

    Args:
        table: the worker table, where the supervisor publishes the figure.
        ask: has the supervisor asked to evict what it can and to publish a new figure;
            must not wait for the answer. ``answered`` is called with the answer, or
            when there will be none.
    """

    ANSWER_S = 0.25
    """Seconds that a writer waits for the supervisor's answer, at the most."""

    def __init__(self, table: WorkerTable, ask: Callable[[], None]) -> None:
        self._table = table
        self._ask = ask
        # Reentrant: a signal handler may write in the middle of a write.
        self._lock = threading.RLock()
        self._word = threading.Condition(self._lock)
        self._sequence = -2
        self._purse = _Purse()
        self._owners: dict[bytes, _Purse] = {}
        self._asked = False
        self._unanswered = False

    def take_for(self, segment: Segment) -> Callable[[int], bool]:
        """Return a function that takes bytes for this segment, as ``take`` does."""
        words, owner = segment.words, segment.owner
        return lambda size: self.take(size, owner, words)

    def take(
        self, size: int, owner: bytes = b'', words: memoryview | None = None
    ) -> bool:
        """Take ``size`` bytes; False if the share does not allow it.

        Args:
            size: bytes.
            owner: the owner of the stream that needs them.
            words: the header of that stream's segment, where the owner's figure is;
                None: there is none.
        """
        with self._lock:
            purses = self._purses(owner, words)
            taken = self._may_take(size, purses)
            if taken:
                for purse in purses:
                    purse.spend(size, bool(self._sequence % 2))
            if not taken or any(purse.runs_low for purse in purses):
                self._want()
        return taken

    @property
    def asked(self) -> bool:
        """Whether an answer is under way: a writer that can wait for it should."""
        # Without the lock: this is called for every piece that is written.
        return self._asked and not self._unanswered

    @property
    def may_wait(self) -> bool:
        """Whether an answer is under way, and the caller runs on no event loop."""
        return self.asked and not _on_a_loop()

    def wait(self) -> None:
        """Wait for the answer if one is under way; must not be called on a loop.

        If no answer comes in time, nothing limits ``take`` until the next figure.
        """
        with self._lock:
            self._wait()

    def answered(self, answer: bool) -> None:
        """Note that the supervisor has answered (True), or that it will not (False)."""
        with self._lock:
            if not answer:
                self._unanswered = True
                # The next ``take`` that runs low asks again.
                self._asked = False
            self._word.notify_all()

    def _wait(self) -> None:
        if not self._word.wait_for(self._has_word, self.ANSWER_S):
            self._unanswered = True

    def _has_word(self) -> bool:
        self._see_figure()
        return not self.asked

    def _want(self) -> None:
        if not self._asked:
            self._asked = True
            self._ask()

    def _see_figure(self) -> None:
        sequence = self._table.room_sequence
        before, self._sequence = self._sequence, sequence
        if sequence == before or (sequence == before + 1 and sequence % 2):
            # The figure has not changed; if odd, the next one is being measured now.
            return
        # If several figures have come since, the last one was measured after all that
        # this process had taken.
        just_measured = bool(before % 2) and sequence <= before + 2
        for purse in (self._purse, *self._owners.values()):
            purse.renew(just_measured)
        self._owners = {o: purse for o, purse in self._owners.items() if purse.spent}
        self._asked = self._unanswered = False

    def _purses(self, owner: bytes, words: memoryview | None) -> list[_Purse]:
        self._see_figure()
        workers = self._table.workers
        self._purse.see(self._table.room, workers)
        purses = [self._purse]
        published = 0 if words is None else words[W_OWNER_ROOM]
        if published:
            purse = self._owners.setdefault(owner, _Purse())
            purse.see(published - 1, workers)
            purses.append(purse)
        return purses

    def _may_take(self, size: int, purses: list[_Purse]) -> bool:
        if self._unanswered:
            # There seems to be no supervisor, and writing needs none: only the file
            # system is the limit.
            return True
        if not any(purse.lacks(size) for purse in purses):
            return True
        # A writer on an event loop cannot wait for the answer, so only there may a
        # stream exceed the share.
        return _on_a_loop() and all(purse.can_lend(size) for purse in purses)


def _on_a_loop() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True
