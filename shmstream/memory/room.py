"""How much memory the producers of a process may still take.

The supervisor knows what all segments hold, and publishes a few times a second how much
is left (``WorkerTable.room``), after it has evicted what it can. Producers cannot count
in common without a lock, so each process may spend its share of it until the next
figure comes: all shares together are what is left, and the limit holds.

Nobody waits for a figure, since it may be an event loop that writes: a process that has
spent half of its share has the supervisor asked, aside, to look again. One whose share
is used up before the answer is there may go beyond it by one extent, once, until a
figure that counts it shows room again: the limit is exceeded by as much per process at
the most. When nobody answers, what the file system
has is the limit, until the next figure shows that somebody is there: writing does not
need a supervisor.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

from shmstream.memory.extents import MAX_EXTENT
from shmstream.memory.table import WorkerTable


class Room:
    """One process's share; thread-safe.

    Args:
        table: where the supervisor publishes what is left.
        ask: has the supervisor asked to look again (and to evict what it can); must not
            wait for the answer. ``unanswered`` is called if there is none.
    """

    def __init__(self, table: WorkerTable, ask: Callable[[], None]) -> None:
        self._table = table
        self._ask = ask
        self._lock = threading.Lock()
        self._sequence = -1
        self._share = 0
        self._spent = 0
        self._borrowed = 0
        self._asked = False
        self._unanswered = False

    def take(self, size: int) -> bool:
        """Take ``size`` bytes; False if they are not there to take."""
        with self._lock:
            self._see_figure()
            taken = self._take(size)
            ask = not self._asked and (not taken or self._spent > self._share // 2)
            self._asked = self._asked or ask
        if ask:
            self._ask()
        return taken

    def unanswered(self) -> None:
        """Nobody has answered: until there is another figure, take what there is."""
        with self._lock:
            self._unanswered = True
            # And ask again, when it is wanted.
            self._asked = False

    def _see_figure(self) -> None:
        sequence = self._table.room_sequence
        if sequence != self._sequence:
            self._sequence = sequence
            self._spent = 0
            self._asked = self._unanswered = False
            if self._table.room:
                # What was borrowed is counted in it, and there is room all the same.
                self._borrowed = 0
        # Within one figure too it may become less: somebody has made a stream.
        self._share = self._table.room // max(self._table.workers, 1)

    def _take(self, size: int) -> bool:
        beyond = max(self._spent + size - self._share, 0)
        if beyond and not self._unanswered:
            borrowed = self._borrowed + min(beyond, size)
            if borrowed > MAX_EXTENT:
                return False
            self._borrowed = borrowed
        self._spent += size
        return True
