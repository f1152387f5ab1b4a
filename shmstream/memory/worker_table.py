"""The worker table: the workers of the deployment, and how to wake each of them.

One file, made by the supervisor and mapped by every process of the deployment::

    offset  field
    ------  ---------------------------------------------------------------
         0  magic            b'SHMWORK1', written last
         8  version          of the table, + 2^32 * that of segments
        16  token            random; part of the semaphores' names
        24  made directory   1 if this deployment made the runtime directory
    ------  -------------- every version begins with these words ------ 32
        32  room             bytes that all segments may still take: "the figure"
        40  room sequence    odd while the next figure is being measured, even once it
                             is published: +2 for each figure (``room_share``)
        48  workers          slots in use when the figure was published
        56  limit            bytes that all segments may take: decided once in the
                             life of a deployment, for all its supervisors
    ------  ----------------------------------------------------------- 64
        64  slot 0           two cache lines per worker; written by the supervisor:
            +0  epoch        random, 0 = free; stored before its semaphore is made
            +8  pid          for people to read; ``slot_locks`` says whether it lives
            +16 cancels      counts cancels of the streams that this worker produces
            +24 looks        counted up to have it look at all streams that it follows
            ---------------- written by the worker itself:
            +64 nap          a number never used before while it naps, else 0;
                             bit 0: how to ring (``wakeups.shared_board``)
       192  slot 1 ...       64 slots
    ------  ----------------------------------------------------------- 12288
     12288  board 0          32 KiB per slot, backed by memory once the slot is taken
            +8*p place[p]    a mark, different at every change of one segment; written
                             by the segment's producer (``wakeups.shared_board``)
     45056  board 1 ...      64 boards

A table lasts for one life of a deployment: from the first supervisor, through its
successors, until no worker has a slot any more. The next life makes a new table.
"""

from __future__ import annotations

import mmap
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from shmstream.chance import random_bits
from shmstream.errors import LayoutMismatch, SupervisorUnavailable
from shmstream.ring.layout import LAYOUT_VERSION, MAX_SLOTS, WORD

TABLE_MAGIC: Final = int.from_bytes(b'SHMWORK1', 'little')
TABLE_VERSION: Final = 4

FORMAT: Final = [TABLE_VERSION, LAYOUT_VERSION]
"""The versions that all processes of one deployment must agree on."""

FORMAT_WORD: Final = TABLE_VERSION | LAYOUT_VERSION << 32

PLACES: Final = 4096
"""Words on a board. If a process follows more segments, some of them share a word."""

_BOARDS: Final = 12288
_BOARD_BYTES: Final = PLACES * WORD
TABLE_BYTES: Final = _BOARDS + _BOARD_BYTES * MAX_SLOTS

_MAGIC, _VERSION, _TOKEN, _MADE, _ROOM, _ROOM_SEQUENCE, _WORKERS, _LIMIT = range(8)
_HEAD_WORDS = 4
_SLOT0, _SLOT_WORDS = 8, 16
_EPOCH, _PID, _CANCELS, _LOOKS = range(4)
_NAP = 8


@dataclass(frozen=True)
class TableHead:
    """The first words of a worker table, the same in every version.

    Attributes:
        blank: whether all words are 0, as when a disk has lost them in a crash.
        magic: ``TABLE_MAGIC`` if the file is a worker table.
        format_word: the versions of table and segments.
        token: part of the semaphores' names.
        made_directory: whether this deployment made the runtime directory.
    """

    blank: bool
    magic: int
    format_word: int
    token: int
    made_directory: bool

    @property
    def is_table(self) -> bool:
        """Whether the file is a worker table, of whatever version."""
        return self.magic == TABLE_MAGIC

    @property
    def format(self) -> str:
        """The table's versions and this program's, for error messages."""
        table, layout = self.format_word & 0xFFFFFFFF, self.format_word >> 32
        return f'{table}.{layout}, this is {TABLE_VERSION}.{LAYOUT_VERSION}'


def read_head(fd: int) -> TableHead:
    """Read the first words of a worker table's file."""
    raw = os.pread(fd, _HEAD_WORDS * WORD, 0)
    words = memoryview(raw.ljust(_HEAD_WORDS * WORD, b'\0')).cast('Q')
    return TableHead(
        not any(raw), words[_MAGIC], words[_VERSION], words[_TOKEN], bool(words[_MADE])
    )


Slots = dict[int, tuple[int, int]]
"""The epoch and the pid of the worker in each slot that is taken."""


def slots_in(words: memoryview) -> Slots:
    """Return the slots that are taken, from the words of a worker table."""
    found: Slots = {}
    for slot in range(MAX_SLOTS):
        at = _SLOT0 + slot * _SLOT_WORDS
        if epoch := words[at + _EPOCH]:
            found[slot] = epoch, words[at + _PID]
    return found


def read_slots(fd: int) -> Slots:
    """Read the slots that are taken from a worker table's file; maps nothing.

    Raises:
        LayoutMismatch: the file is no worker table, or of another version.
    """
    head = read_head(fd)
    if not head.is_table or head.format_word != FORMAT_WORD:
        raise LayoutMismatch(f'worker table of format {head.format}')
    return slots_in(
        memoryview(os.pread(fd, _BOARDS, 0).ljust(_BOARDS, b'\0')).cast('Q')
    )


class WorkerTable:
    """The mapped table. Only the supervisor calls the methods that write.

    Attributes:
        words: the whole table as u64 words, for naps and marks.
        identity: (device, inode) of its file.
        folder: the folder of its file.
    """

    def __init__(self, fd: int, folder: Path) -> None:
        self.folder = folder
        found = os.fstat(fd)
        if found.st_size != TABLE_BYTES:
            raise LayoutMismatch('the worker table has another size')
        self.identity = (found.st_dev, found.st_ino)
        self.words = memoryview(mmap.mmap(fd, TABLE_BYTES)).cast('Q')

    @classmethod
    def create(cls, path: Path, made_directory: bool, limit: int = 0) -> WorkerTable:
        """Make an empty table at ``path``; supervisor only.

        Args:
            path: the new file.
            made_directory: whether this deployment made the runtime directory.
            limit: bytes that all segments may take, in this life of the deployment.
        """
        aside = path.with_suffix('.new')
        fd = os.open(aside, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            os.posix_fallocate(fd, 0, _BOARDS)
            os.ftruncate(fd, TABLE_BYTES)
            table = cls(fd, path.parent)
        finally:
            os.close(fd)
        table.words[_VERSION] = FORMAT_WORD
        table.words[_TOKEN] = random_bits(63) | 1
        table.words[_MADE] = int(made_directory)
        table.words[_LIMIT] = limit
        table.words[_MAGIC] = TABLE_MAGIC
        # The table gets its name when it is whole: a half made table would look like a
        # file that is not of shmstream.
        os.rename(aside, path)
        return table

    @classmethod
    def attach(cls, path: Path) -> WorkerTable:
        """Map the table at ``path``.

        Raises:
            SupervisorUnavailable: there is no table (yet).
            LayoutMismatch: the file is no worker table, or of another version or size.
        """
        try:
            fd = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
        except FileNotFoundError:
            raise SupervisorUnavailable('there is no worker table yet') from None
        try:
            # The head is checked before the size, which differs between versions.
            head = read_head(fd)
            if not head.is_table:
                raise LayoutMismatch('not a worker table')
            if head.format_word != FORMAT_WORD:
                raise LayoutMismatch(f'worker table of format {head.format}')
            return cls(fd, path.parent)
        finally:
            os.close(fd)

    @property
    def made_directory(self) -> bool:
        """Whether this deployment made the runtime directory, and has to remove it."""
        return bool(self.words[_MADE])

    @property
    def token(self) -> int:
        """Random; part of the semaphores' names."""
        token: int = self.words[_TOKEN]
        return token

    @property
    def limit(self) -> int:
        """Bytes that all segments together may take, in this life of the deployment."""
        limit: int = self.words[_LIMIT]
        return limit

    @property
    def room(self) -> int:
        """Bytes that all segments together may still take, as last published."""
        room: int = self.words[_ROOM]
        return room

    @property
    def room_sequence(self) -> int:
        """Grows by two with each figure; odd while the next one is being measured."""
        sequence: int = self.words[_ROOM_SEQUENCE]
        return sequence

    @property
    def workers(self) -> int:
        """Slots in use when the figure was published."""
        workers: int = self.words[_WORKERS]
        return workers

    def reduce_room(self, size: int) -> None:
        """Subtract ``size`` bytes from the present figure; supervisor only."""
        self.words[_ROOM] = max(self.room - size, 0)

    def measure_room(self) -> None:
        """Publish that the next figure is being measured; supervisor only."""
        # Not ``+= 1``: if a supervisor died while it measured, the word is odd already.
        self.words[_ROOM_SEQUENCE] |= 1

    def publish_room(self, room: int) -> None:
        """Publish a figure: the bytes that are left; supervisor only."""
        self.words[_WORKERS] = sum(bool(self.epoch(s)) for s in range(MAX_SLOTS))
        self.words[_ROOM] = room
        self.words[_ROOM_SEQUENCE] = (self.room_sequence | 1) + 1

    def epoch(self, slot: int) -> int:
        """The epoch of the worker in this slot, 0 if the slot is free."""
        epoch: int = self.words[_SLOT0 + slot * _SLOT_WORDS + _EPOCH]
        return epoch

    def pid(self, slot: int) -> int:
        """The process in this slot; for people to read, never to signal."""
        pid: int = self.words[_SLOT0 + slot * _SLOT_WORDS + _PID]
        return pid

    def cancels(self, slot: int) -> int:
        """How often a stream that this worker produces was cancelled."""
        cancels: int = self.words[_SLOT0 + slot * _SLOT_WORDS + _CANCELS]
        return cancels

    def looks(self, slot: int) -> int:
        """How often the supervisor had this worker look at all that it follows."""
        looks: int = self.words[_SLOT0 + slot * _SLOT_WORDS + _LOOKS]
        return looks

    @staticmethod
    def nap_at(slot: int) -> int:
        """Index of the word that says whether the worker in this slot naps."""
        return _SLOT0 + slot * _SLOT_WORDS + _NAP

    @staticmethod
    def place_at(slot: int, place: int) -> int:
        """Index of a place on the board of the worker in this slot."""
        return (_BOARDS + slot * _BOARD_BYTES) // WORD + place

    def slot_of(self, epoch: int) -> int | None:
        """The slot of the worker with this epoch; None if there is no such worker."""
        return next((s for s in range(MAX_SLOTS) if self.epoch(s) == epoch), None)

    def back_board(self, path: Path, slot: int) -> None:
        """Back the slot's board with memory; supervisor only.

        Raises:
            OSError: the file system has no room for it.
        """
        fd = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
        try:
            at = self.place_at(slot, 0) * WORD
            os.posix_fallocate(fd, at, _BOARD_BYTES)
        finally:
            os.close(fd)

    def take(self, slot: int, epoch: int, pid: int) -> None:
        """Give the slot to a worker; supervisor only."""
        at = _SLOT0 + slot * _SLOT_WORDS
        self.words[at + _PID] = pid
        self.words[at + _EPOCH] = epoch

    def free(self, slot: int) -> None:
        """Take the slot back; supervisor only."""
        self.words[_SLOT0 + slot * _SLOT_WORDS + _EPOCH] = 0

    def count_look(self, slot: int) -> None:
        """Have the worker look at all streams that it follows; supervisor only."""
        self.words[_SLOT0 + slot * _SLOT_WORDS + _LOOKS] += 1

    def count_cancel(self, slot: int) -> None:
        """Have the worker look for cancels of its own streams; supervisor only."""
        self.words[_SLOT0 + slot * _SLOT_WORDS + _CANCELS] += 1
