"""How much memory the producers of a process may still take.

The supervisor knows what all segments hold, and publishes a few times a second how much
is left (``WorkerTable.room``). Producers cannot count in common without a lock, so each
process may spend its share of it until the next figure comes: all shares together are
what is left, and the limit holds without anybody waiting. What is spent just before a
new figure is not in it yet; it is in the next. A process whose share is used up asks
for a new figure, once and not for long, before it gives up a stream. When nobody
answers, what the file system has is the limit: writing does not need a supervisor.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

from shmstream.memory.table import WorkerTable


class Room:
    """One process's share; thread-safe.

    Args:
        table: where the supervisor publishes what is left.
        ask: has the supervisor look again (and evict what it can); False if it does not
            answer at once.
    """

    def __init__(self, table: WorkerTable, ask: Callable[[], bool]) -> None:
        self._table = table
        self._ask = ask
        self._lock = threading.Lock()
        self._sequence = -1
        self._spent = 0

    def take(self, size: int) -> bool:
        """Take ``size`` bytes; False if the share does not hold them."""
        with self._lock:
            return self._take(size) or not self._ask() or self._take(size)

    def _take(self, size: int) -> bool:
        sequence = self._table.room_sequence
        if sequence != self._sequence:
            self._sequence = sequence
            self._spent = 0
        if self._spent + size > self._table.room // max(self._table.workers, 1):
            return False
        self._spent += size
        return True
