"""How much memory the producers of a process may still take.

The supervisor knows what all segments hold, and publishes a few times a second how much
is left (``WorkerTable.room``), after it has evicted what it can. Producers cannot count
in common without a lock, so each process may spend its share of it until the next
figure comes: all shares together are what is left, and the limit holds.

A process that has spent half of its share has the supervisor asked, aside, to look
again. While the answer is under way, who can wait for it should (``wait``, for 250 ms
at the most): a writer in a thread whose share is used up does, and so does whoever
writes on an event loop and awaits ``Producer.drain`` in between. ``take`` itself never
waits on a loop. It may use there what others leave of their shares, an extent at the
most: should all of them do so before one figure, the limit is exceeded by as much each,
and never if there is but one. When nobody answers, what the file system has is the
limit, until the next figure shows that somebody is there: writing does not need a
supervisor.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable

from shmstream.memory.extents import MAX_EXTENT
from shmstream.memory.table import WorkerTable

ANSWER_S = 0.25
"""As long as anybody waits for a word about room."""


class Room:
    """One process's share; thread-safe.

    Args:
        table: where the supervisor publishes what is left.
        ask: has the supervisor asked to look again (and to evict what it can); must not
            wait for the answer. ``answered`` is called when it is there, or when there
            will be none.
    """

    def __init__(self, table: WorkerTable, ask: Callable[[], None]) -> None:
        self._table = table
        self._ask = ask
        self._lock = threading.Lock()
        self._word = threading.Condition(self._lock)
        self._sequence = -1
        self._share = 0
        self._spent = 0
        self._asked = False
        self._unanswered = False

    def take(self, size: int) -> bool:
        """Take ``size`` bytes; False if they are not there to take."""
        with self._lock:
            self._see_figure()
            on_loop = _on_a_loop()
            if self._lacks(size) and not on_loop:
                self._want()
                self._wait()
            taken = self._take(size, lend=on_loop)
            if not taken or self._spent > self._share // 2:
                self._want()
        return taken

    @property
    def asked(self) -> bool:
        """Whether a word about room is under way: who can should wait for it."""
        # A glance, without the lock: it is taken for every piece that is written.
        return self._asked and not self._unanswered

    def wait(self) -> None:
        """Wait until there is a word about room, if one is under way; never on a loop.

        If none comes, what there is may be taken until one does.
        """
        with self._lock:
            self._wait()

    def answered(self, told: bool) -> None:
        """The one that was asked has told, or nobody has."""
        with self._lock:
            if not told:
                self._unanswered = True
                # And ask again, when it is wanted.
                self._asked = False
            self._word.notify_all()

    def _wait(self) -> None:
        if not self._word.wait_for(self._has_word, ANSWER_S):
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
        if sequence != self._sequence:
            self._sequence = sequence
            self._spent = 0
            self._asked = self._unanswered = False
        # Within one figure too it may become less: somebody has made a stream.
        self._share = self._table.room // max(self._table.workers, 1)

    def _lacks(self, size: int) -> bool:
        return self._spent + size > self._share and not self._unanswered

    def _take(self, size: int, lend: bool) -> bool:
        spent = self._spent + size
        if self._lacks(size) and not (
            lend and spent <= min(self._table.room, self._share + MAX_EXTENT)
        ):
            return False
        self._spent = spent
        return True


def _on_a_loop() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True
