"""The workers that are connected: their slots and their bells."""

from __future__ import annotations

import contextlib
import logging
import os
from pathlib import Path

import posix_ipc

from shmstream.chance import random_bits
from shmstream.errors import NoRoom
from shmstream.memory.table import WorkerTable
from shmstream.ring.layout import MAX_SLOTS

log = logging.getLogger('shmstream')


class Workers:
    """Gives out slots. Semaphores and pipes are made and unlinked here only.

    Args:
        table: the worker table.
        path: its file.
    """

    def __init__(self, table: WorkerTable, path: Path) -> None:
        self._table = table
        self._path = path
        self._connected: set[int] = set()

    def hello(self, pid: int, slot: int | None, epoch: int | None) -> tuple[int, int]:
        """Return (slot, epoch) for a process that has connected.

        Args:
            pid: the process.
            slot: the slot that it had under a predecessor of ours, if it had one.
            epoch: the epoch that goes with it; it keeps both.

        Raises:
            NoRoom: all slots are taken.
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
                break
        else:
            raise NoRoom(f'{MAX_SLOTS} processes are attached, no more can be')
        try:
            self._table.back_board(self._path, free)
        except OSError as ex:
            raise NoRoom(f'no room for a bell board: {ex.strerror}') from ex
        epoch = random_bits(63) | 1
        # Into the table first: what is in the table is cleaned up after a crash.
        self._table.take(free, epoch, pid)
        try:
            posix_ipc.Semaphore(
                self._table.semaphore_name(epoch), posix_ipc.O_CREX, mode=0o600
            ).close()
        except OSError as ex:
            self._give_back(free)
            raise NoRoom(f'no room for a doorbell: {ex.strerror}') from ex
        try:
            os.mkfifo(self._table.pipe(epoch), 0o600)
        except OSError as ex:
            # Not every file system has them. A loop is rung by its thread then.
            log.warning('no pipe for slot %d: %s', free, ex)
        self._connected.add(free)
        return free, epoch

    def left(self, slot: int) -> None:
        """The process in this slot has gone: take the slot and its bells back."""
        self._connected.discard(slot)
        if self._table.epoch(slot):
            self._give_back(slot)

    def _give_back(self, slot: int) -> None:
        epoch = self._table.epoch(slot)
        with contextlib.suppress(posix_ipc.ExistentialError):
            posix_ipc.unlink_semaphore(self._table.semaphore_name(epoch))
        self._table.pipe(epoch).unlink(missing_ok=True)
        self._table.free(slot)

    def drop_absent(self) -> None:
        """Free the slots whose processes have not come back, and never will.

        One that is alive may still write its words: nobody else may have them.
        """
        for slot in range(MAX_SLOTS):
            if not self._table.epoch(slot) or slot in self._connected:
                continue
            if not _alive(self._table.pid(slot)):
                self.left(slot)

    def close(self) -> None:
        """Unlink every bell."""
        for slot in range(MAX_SLOTS):
            self.left(slot)


def _alive(pid: int) -> bool:
    try:
        os.close(os.pidfd_open(pid))
    except ProcessLookupError:
        return False
    return True
