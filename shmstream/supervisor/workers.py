"""The slots of the workers, and the bells that go with them."""

from __future__ import annotations

import contextlib
import errno
import logging
import os
from pathlib import Path

import posix_ipc

from shmstream.chance import random_bits
from shmstream.errors import NoRoom
from shmstream.memory.slot_locks import SlotLocks
from shmstream.memory.worker_table import Slots, WorkerTable, slots_in
from shmstream.metrics.own_counts import OwnCounts
from shmstream.ring.layout import MAX_SLOTS
from shmstream.wakeups.pipe import pipe_path
from shmstream.wakeups.semaphore import semaphore_name
from shmstream.wakeups.stand_in import posts_path

log = logging.getLogger('shmstream')

_EXHAUSTED = frozenset(
    {errno.ENOSPC, errno.EDQUOT, errno.EMFILE, errno.ENFILE, errno.ENOMEM}
)
"""With these errors a semaphore may be made later, so no pipe stands in for it."""


class Workers:
    """Gives out slots, and makes and unlinks their bells.

    A slot belongs to a worker while the worker is connected, or holds the slot's lock
    (``memory.slot_locks``).

    Args:
        table: the worker table.
        path: the table's file.
        counts: gives each worker a block to count in, and adds up the blocks of those
            that have left.
    """

    def __init__(self, table: WorkerTable, path: Path, counts: OwnCounts) -> None:
        self._table = table
        self._path = path
        self._counts = counts
        self._locks = SlotLocks(path)
        self._connected: set[int] = set()

    def hello(self, pid: int, slot: int | None, epoch: int | None) -> tuple[int, int]:
        """Return (slot, epoch) for a process that has connected.

        Args:
            pid: the process, for people to read.
            slot: the slot that it had under an earlier supervisor, if it had one.
            epoch: the epoch that it had with that slot. If the slot still has this
                epoch, the process keeps both.

        Raises:
            NoRoom: all slots are taken, or there is no room for a board or a semaphore.
        """
        if (
            slot is not None
            and epoch
            and 0 <= slot < MAX_SLOTS
            and slot not in self._connected
            and self._table.epoch(slot) == epoch
        ):
            self._connected.add(slot)
            return slot, epoch
        for free in range(MAX_SLOTS):
            if not self._table.epoch(free):
                # A worker whose slot was just taken back may still hold its lock.
                with self._locks.vacant(free) as vacant:
                    if vacant:
                        return free, self._take(free, pid)
        error = NoRoom(f'{MAX_SLOTS} processes are attached, no more can be')
        error.cause = 'processes'
        raise error

    def _take(self, slot: int, pid: int) -> int:
        try:
            self._table.back_board(self._path, slot)
        except OSError as ex:
            raise NoRoom(f'no room for a board: {ex.strerror}') from ex
        epoch = random_bits(63) | 1
        try:
            # The table comes first: if the supervisor dies after this line, its
            # successor finds the epoch in the table and unlinks the bells.
            self._table.take(slot, epoch, pid)
            self._counts.give(slot, epoch, pid)
            self._make_bells(slot, epoch)
        except BaseException:
            self._give_back(slot)
            raise
        self._connected.add(slot)
        return epoch

    def _make_bells(self, slot: int, epoch: int) -> None:
        try:
            posix_ipc.Semaphore(
                semaphore_name(self._table.token, epoch), posix_ipc.O_CREX, mode=0o600
            ).close()
        except (OSError, posix_ipc.Error) as ex:
            if getattr(ex, 'errno', None) in _EXHAUSTED or not self._stand_in(epoch):
                raise NoRoom(f'no room for a doorbell: {_why(ex)}') from ex
        try:
            os.mkfifo(pipe_path(self._table, epoch), 0o600)
        except OSError as ex:
            # Not every file system has pipes: then others ring by the semaphore only.
            log.warning('no pipe for slot %d: %s', slot, ex)

    def _stand_in(self, epoch: int) -> bool:
        """Make the pipe that stands in for a semaphore; False if it cannot be made."""
        try:
            os.mkfifo(posts_path(self._table, epoch), 0o600)
        except OSError:
            return False
        return True

    @property
    def number(self) -> int:
        """How many processes have a slot."""
        return sum(bool(self._table.epoch(slot)) for slot in range(MAX_SLOTS))

    def degraded(self) -> list[str]:
        """Say which bells are of a slower kind than they could be."""
        epochs = [self._table.epoch(slot) for slot in range(MAX_SLOTS)]
        without = standing_in = 0
        for epoch in filter(None, epochs):
            without += not pipe_path(self._table, epoch).exists()
            standing_in += posts_path(self._table, epoch).exists()
        found = []
        if without:
            found.append(f'no pipe for {without} processes: each wake-up costs more')
        if standing_in:
            found.append(f'no semaphore for {standing_in} processes: pipes stand in')
        return found

    def left(self, slot: int) -> None:
        """Free the slot of a closed connection, unless its process still holds it.

        A live process may still write its words in the segments, so no other process
        may get its slot. A process that is just dying holds its lock a moment longer.
        """
        self._connected.discard(slot)
        with self._locks.vacant(slot) as vacant:
            if vacant and self._table.epoch(slot):
                self._give_back(slot)

    def _give_back(self, slot: int) -> None:
        epoch = self._table.epoch(slot)
        try:
            if epoch:
                # A bell that cannot be unlinked now is unlinked, or logged, when the
                # table is removed.
                with contextlib.suppress(OSError, posix_ipc.Error):
                    posix_ipc.unlink_semaphore(semaphore_name(self._table.token, epoch))
                for pipe in (pipe_path, posts_path):
                    with contextlib.suppress(OSError):
                        pipe(self._table, epoch).unlink()
        finally:
            self._counts.fold(slot)
            # The slot is freed last: if the supervisor dies before this line, its
            # successor finds the epoch in the table and unlinks the bells.
            self._table.free(slot)

    def drop_absent(self) -> None:
        """Free the slots of processes that have gone while they were not connected."""
        for slot in range(MAX_SLOTS):
            if self._table.epoch(slot) and slot not in self._connected:
                self.left(slot)

    def slots(self) -> Slots:
        """Return the slots that are taken."""
        return slots_in(self._table.words)

    def close(self) -> None:
        """Take back all slots and unlink their bells; before the table is removed."""
        self._connected.clear()
        for slot in range(MAX_SLOTS):
            if self._table.epoch(slot):
                self._give_back(slot)
        self._locks.close()


def _why(ex: BaseException) -> str:
    return getattr(ex, 'strerror', None) or str(ex)
