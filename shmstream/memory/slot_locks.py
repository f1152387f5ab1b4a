"""Whether a slot's worker lives: it locks one byte of the worker table's file.

A pid would not do: pids are reused, soonest in a container, and stand for another
process in another pid namespace. The kernel drops a lock (``file_locks``) when its
holder dies::

    worker                                  supervisor
    hello                        ------->   slot's epoch = a new one; while this
    slot, epoch                  <-------   connection lasts, the slot is not free
    open the table's file
    lock the byte `slot`
    still the same epoch there?
      no:  slot was taken back; hello anew
      yes: slot is ours, until our unlock
           or death
    connection ends              ------->   lock the byte `slot`
                                              fails: the worker lives; look later
                                              works: epoch = 0, unlock: slot is free

Worker and supervisor both lock the byte before they rely on the epoch, so the second of
them sees what the first one did, and no slot is given to two workers. The supervisor
takes back a whole table in the same way, with the bytes of all slots.

Byte n of the file stands for slot n; its contents do not matter. Every version from
table 4 on locks these 64 bytes, so that other versions see that a table is in use.
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
    # An open file description of its own: a mapping would keep a shared one, and the
    # lock with it.
    return os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)


class SlotLock:
    """The lock of a worker on its slot, for as long as the worker lives.

    Args:
        path: the worker table's file.
        table: the same file, mapped.
        slot: the slot that the supervisor gave to this worker.
        epoch: the epoch that the supervisor gave with the slot.

    Raises:
        ConnectionResetError: the supervisor has taken the slot back meanwhile.
        OSError: the supervisor is just taking it back (the byte is locked), or the file
            cannot be opened.
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
        """Give the slot up; idempotent."""
        if self._fd >= 0:
            # Unlocked explicitly: a forked process may keep a copy of the descriptor.
            unlock(self._fd, self._slot)
            self.abandon()

    def abandon(self) -> None:
        """Close this process's copy of the descriptor; the lock is its parent's."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)

    def __del__(self) -> None:
        # An exception may drop a lock that nobody has closed.
        self.abandon()


class SlotLocks:
    """The locks of all slots, for the supervisor: it finds out which slots are vacant.

    Args:
        path: the worker table's file.

    Attributes:
        fd: the descriptor of that file.

    Raises:
        OSError: the file cannot be opened.
    """

    def __init__(self, path: Path) -> None:
        self.fd = _open(path)

    @contextlib.contextmanager
    def vacant(self, slot: int, count: int = 1) -> Iterator[bool]:
        """Yield whether no worker lives in these slots; none can take one in the block.

        Args:
            slot: the first slot.
            count: the number of slots.
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


# A forked child shares the open file description, and would keep the slot of a parent
# that has died. ``_opening`` keeps forks from coming between opening a file and adding
# its lock to ``_held``.
os.register_at_fork(
    before=_opening.acquire,
    after_in_parent=_opening.release,
    after_in_child=_abandon_all,
)
