"""Who lives in a slot: a lock on one byte of the worker table's file.

A pid says nothing: pids repeat, soonest in a container, and mean another process in
another pid namespace. A lock (``file_locks``) is the kernel's word, and is gone with
whoever had it::

    worker                                  supervisor
    hello                        ------->   slot's epoch = a new one; while this
    slot, epoch                  <-------   connection lasts, the slot is not free
    open the table's file
    lock the byte `slot`
    the slot's epoch is ours still?
      no:  it was taken back; hello anew
      yes: ours, until unlocked or dead
    connection ends              ------->   lock the byte `slot`
                                              taken: it lives; look again later
                                              got:   epoch = 0, unlock: it is free

Whoever comes second finds what the other has done, so nobody has a slot that another
one is given. A whole table is taken back in the same way, with the bytes of all slots.

Byte n of the file is that of slot n; what is written there has nothing to do with it.
Every version from table 4 on locks these 64 bytes: that is how another version knows
that a table is in use.
"""

from __future__ import annotations

import contextlib
import os
import threading
import weakref
from collections.abc import Iterator
from pathlib import Path

from shmstream.memory.file_locks import lock_alone, unlock
from shmstream.memory.worker_table import WorkerTable
from shmstream.ring.layout import MAX_SLOTS

_held: weakref.WeakSet[SlotLock] = weakref.WeakSet()
_opening = threading.RLock()


def _open(path: Path) -> int:
    # A description of its own: that of a mapping lives as long as the mapping.
    return os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)


class SlotLock:
    """A worker's hold on its slot, for as long as it lives.

    Args:
        path: the worker table's file.
        table: the same, mapped.
        slot: the slot that the supervisor gave us.
        epoch: the epoch that goes with it.

    Raises:
        ConnectionResetError: the slot was taken back meanwhile.
        OSError: somebody else is about to find that out, or the file cannot be opened.
    """

    def __init__(self, path: Path, table: WorkerTable, slot: int, epoch: int) -> None:
        self.place = (table.identity, slot, epoch)
        self._slot = slot
        self._fd = -1
        with _opening:
            self._fd = _open(path)
            _held.add(self)
        try:
            lock_alone(self._fd, slot)
            found = os.fstat(self._fd)
            same = (found.st_dev, found.st_ino) == table.identity
            if not same or table.epoch(slot) != epoch:
                raise ConnectionResetError('the slot was taken back')
        except BaseException:
            self.release()
            raise

    def release(self) -> None:
        """Let the slot go; idempotent."""
        if self._fd >= 0:
            # Not only by closing it: a copy may live on in a forked process.
            unlock(self._fd, self._slot)
            self.abandon()

    def abandon(self) -> None:
        """Close this process's copy of the descriptor; the lock is its parent's."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)

    def __del__(self) -> None:
        # An exception on the way may drop one.
        self.abandon()


class SlotLocks:
    """All slots, as the supervisor sees them: who can take a lock knows nobody has it.

    Args:
        path: the worker table's file.

    Attributes:
        fd: its descriptor.

    Raises:
        OSError: it cannot be opened.
    """

    def __init__(self, path: Path) -> None:
        self.fd = _open(path)

    @contextlib.contextmanager
    def vacant(self, slot: int, count: int = 1) -> Iterator[bool]:
        """Whether nobody lives there; nobody can move in before the block has ended.

        Args:
            slot: the first slot.
            count: how many.
        """
        try:
            lock_alone(self.fd, slot, count)
        except (BlockingIOError, PermissionError):
            yield False
            return
        try:
            yield True
        finally:
            unlock(self.fd, slot, count)

    def all_vacant(self) -> contextlib.AbstractContextManager[bool]:
        """As ``vacant``, for all slots."""
        return self.vacant(0, MAX_SLOTS)

    def close(self) -> None:
        """Close the file."""
        os.close(self.fd)


def _abandon_all() -> None:
    for lock in list(_held):
        lock.abandon()
    _opening.release()


# A child shares the description, and would keep the slot of a parent that has died. No
# fork comes between the open and the note of it.
os.register_at_fork(
    before=_opening.acquire,
    after_in_parent=_opening.release,
    after_in_child=_abandon_all,
)
