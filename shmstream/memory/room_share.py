"""How much memory the producers of a process may still take.

The supervisor knows what all segments hold, and publishes a few times a second how much
is left (``WorkerTable.room``), after it has evicted what it can. Producers cannot count
in common without a lock, so each process may spend its share of it until the next
figure comes: all shares together are what is left, and the limit holds.

A process that has spent half of its share has the supervisor asked, aside, to look
again. While the answer is under way, who can wait for it should (``wait``, for 250 ms
at the most): a writer in a thread whose share is used up does, without its stream's
lock, and so does whoever writes on an event loop and awaits ``Producer.drain`` in
between. ``take`` itself never waits. On a loop it may use what others leave of their
shares, an extent at the most: should all of them do so before one figure, the limit is
exceeded by as much each, and never if there is but one. An extent that is being taken
while the supervisor measures counts from the next figure on (``supervisor.eviction``).
When nobody answers, what the file system has is the limit, until the next figure shows
that somebody is there: writing does not need a supervisor.

While several owners share the memory, there is a figure of the same kind for each
(``supervisor.shares``), in the segments of its live streams. A process keeps to its
share of that, too, and all that is said here holds of it.
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
    """What has been spent of a share since the last figure."""

    def __init__(self) -> None:
        self.spent = 0
        self.since = 0
        """Of it, what was spent since the next figure is being measured."""
        self.left = 0
        """Bytes that the figure says are left for all processes."""
        self.share = 0

    def see(self, left: int, workers: int) -> None:
        """See how much is left. Within one figure, too, it may become less."""
        self.left = left
        self.share = left // max(workers, 1)

    def spend(self, size: int, measuring: bool) -> None:
        """Take so much out of it."""
        self.spent += size
        self.since += size * measuring

    def renew(self, measured: bool) -> None:
        """Begin anew: with what the new figure may not have seen, if it may not."""
        self.spent, self.since = self.since * measured, 0

    def lacks(self, size: int) -> bool:
        """Whether so much is not in it."""
        return self.spent + size > self.share

    def can_lend(self, size: int) -> bool:
        """Whether it is in it with what others leave, an extent at the most."""
        return self.spent + size <= min(self.left, self.share + MAX_EXTENT)

    @property
    def runs_low(self) -> bool:
        """Whether half of it is spent."""
        return self.spent > self.share // 2


class RoomShare:
    """One process's share; thread-safe.

    Args:
        table: where the supervisor publishes what is left.
        ask: has the supervisor asked to look again (and to evict what it can); must not
            wait for the answer. ``answered`` is called when it is there, or when there
            will be none.
    """

    ANSWER_S = 0.25
    """As long as anybody waits for a word about room."""

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
        """Return what takes bytes for this segment, as ``take`` does."""
        words, owner = segment.words, segment.owner
        return lambda size: self.take(size, owner, words)

    def take(
        self, size: int, owner: bytes = b'', words: memoryview | None = None
    ) -> bool:
        """Take ``size`` bytes; False if they are not there to take.

        Args:
            size: so many.
            owner: whose stream it is that wants them.
            words: that stream's, where its owner's room is; None: it has none.
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
        """Whether a word about room is under way: who can should wait for it."""
        # A glance, without the lock: it is taken for every piece that is written.
        return self._asked and not self._unanswered

    @property
    def may_wait(self) -> bool:
        """Whether a word is under way, and this is no event loop."""
        return self.asked and not _on_a_loop()

    def wait(self) -> None:
        """Wait until there is a word about room, if one is under way; never on a loop.

        If none comes, what there is may be taken until one does.
        """
        with self._lock:
            self._wait()

    def answered(self, answer: bool) -> None:
        """The supervisor has answered, or nobody will."""
        with self._lock:
            if not answer:
                self._unanswered = True
                # And ask again, when it is wanted.
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
            # The figure is the one that it was; from now on the next one is measured.
            return
        # Of several that came since, the last has seen all that was taken before them.
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
            # Nobody has answered: what the file system has is the limit, for writing
            # needs no supervisor.
            return True
        if not any(purse.lacks(size) for purse in purses):
            return True
        # Beyond its share a stream may go on an event loop only: nobody waits there.
        return _on_a_loop() and all(purse.can_lend(size) for purse in purses)


def _on_a_loop() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True
