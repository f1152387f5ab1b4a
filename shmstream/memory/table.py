"""The worker table: who can be woken, and how.

One file, written by the supervisor, mapped by every process of the deployment::

    offset  field
    ------  ---------------------------------------------------------------
         0  magic            b'SHMWORK1', written last
         8  version
        16  token            random; part of the semaphores' names
        24  made directory   1 if this deployment made the runtime directory
        32  room             bytes that segments may still take
        40  room sequence    counts the figures published
        48  workers          slots in use
    ------  ----------------------------------------------------------- 64
        64  slot 0           a cache line per worker
            +0  epoch        random, 0 = free; stored before its semaphore is made
            +8  pid
            +16 notices      counts cancels and the like for this worker's producers
       128  slot 1 ...       64 slots

A worker's doorbell is the POSIX semaphore ``/shmstream-<token>-<epoch>``: unguessable,
and derived from what the table holds, so that whoever cleans up after a crash finds
every semaphore that can exist.
"""

from __future__ import annotations

import mmap
import os
import secrets
from pathlib import Path
from typing import Final

from shmstream.errors import LayoutMismatch, SupervisorUnavailable
from shmstream.ring.layout import MAX_SLOTS

TABLE_MAGIC: Final = int.from_bytes(b'SHMWORK1', 'little')
TABLE_VERSION: Final = 1
TABLE_BYTES: Final = 64 + 64 * MAX_SLOTS

_MAGIC, _VERSION, _TOKEN, _MADE, _ROOM, _ROOM_SEQUENCE, _WORKERS = range(7)
_SLOT0, _SLOT_WORDS = 8, 8
_EPOCH, _PID, _NOTICES = range(3)


class WorkerTable:
    """The mapped table. Only the supervisor calls the methods that write."""

    def __init__(self, fd: int) -> None:
        if os.fstat(fd).st_size != TABLE_BYTES:
            raise LayoutMismatch('the worker table has another size')
        self._words = memoryview(mmap.mmap(fd, TABLE_BYTES)).cast('Q')

    @classmethod
    def create(cls, path: Path, made_directory: bool) -> WorkerTable:
        """Make an empty table at ``path``; supervisor only."""
        aside = path.with_suffix('.new')
        fd = os.open(aside, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            os.posix_fallocate(fd, 0, TABLE_BYTES)
            table = cls(fd)
        finally:
            os.close(fd)
        table._words[_VERSION] = TABLE_VERSION
        table._words[_TOKEN] = secrets.randbits(63) | 1
        table._words[_MADE] = int(made_directory)
        table._words[_MAGIC] = TABLE_MAGIC
        # Whole or not there: a table that is half made is somebody else's file.
        os.rename(aside, path)
        return table

    @classmethod
    def attach(cls, path: Path) -> WorkerTable:
        """Map the table at ``path``.

        Raises:
            SupervisorUnavailable: there is none (yet).
            LayoutMismatch: the file is something else.
        """
        try:
            fd = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
        except FileNotFoundError:
            raise SupervisorUnavailable('no supervisor has been here yet') from None
        try:
            table = cls(fd)
        finally:
            os.close(fd)
        if table._words[_MAGIC] != TABLE_MAGIC:
            raise LayoutMismatch('not a worker table')
        if table._words[_VERSION] != TABLE_VERSION:
            raise LayoutMismatch(f'worker table version {table._words[_VERSION]}')
        return table

    @property
    def made_directory(self) -> bool:
        """Whether the runtime directory is the deployment's own to remove."""
        return bool(self._words[_MADE])

    @property
    def room(self) -> int:
        """Bytes that all segments together may still take, as last published."""
        room: int = self._words[_ROOM]
        return room

    @property
    def room_sequence(self) -> int:
        """Changes with every figure that is published."""
        sequence: int = self._words[_ROOM_SEQUENCE]
        return sequence

    @property
    def workers(self) -> int:
        """Slots in use when the room was published."""
        workers: int = self._words[_WORKERS]
        return workers

    def reduce_room(self, size: int) -> None:
        """Take from the figure without making it a new one; supervisor only."""
        self._words[_ROOM] = max(self.room - size, 0)

    def publish_room(self, room: int) -> None:
        """Say how much is left; supervisor only."""
        self._words[_WORKERS] = sum(bool(self.epoch(s)) for s in range(MAX_SLOTS))
        self._words[_ROOM] = room
        self._words[_ROOM_SEQUENCE] += 1

    def semaphore_name(self, epoch: int) -> str:
        """Return the name of the doorbell of the worker with this epoch."""
        return f'/shmstream-{self._words[_TOKEN]:016x}-{epoch:016x}'

    def epoch(self, slot: int) -> int:
        """The epoch of the worker in this slot, 0 if the slot is free."""
        epoch: int = self._words[_SLOT0 + slot * _SLOT_WORDS + _EPOCH]
        return epoch

    def pid(self, slot: int) -> int:
        """The process in this slot; for people to read, never to signal."""
        pid: int = self._words[_SLOT0 + slot * _SLOT_WORDS + _PID]
        return pid

    def notices(self, slot: int) -> int:
        """How often something happened to a stream that this worker produces."""
        notices: int = self._words[_SLOT0 + slot * _SLOT_WORDS + _NOTICES]
        return notices

    def slot_of(self, epoch: int) -> int | None:
        """The slot of the worker with this epoch."""
        return next((s for s in range(MAX_SLOTS) if self.epoch(s) == epoch), None)

    def take(self, slot: int, epoch: int, pid: int) -> None:
        """Give the slot to a worker; supervisor only."""
        at = _SLOT0 + slot * _SLOT_WORDS
        self._words[at + _PID] = pid
        self._words[at + _EPOCH] = epoch

    def free(self, slot: int) -> None:
        """Take the slot back; supervisor only."""
        self._words[_SLOT0 + slot * _SLOT_WORDS + _EPOCH] = 0

    def notify(self, slot: int) -> None:
        """Count a notice for the worker in this slot; supervisor only."""
        self._words[_SLOT0 + slot * _SLOT_WORDS + _NOTICES] += 1
