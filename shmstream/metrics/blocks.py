"""The file of all processes' words, beside the worker table.

Made by the supervisor, and mapped by every process of the deployment::

    offset  writer                 field
    ------  ---------------------  -----------------------------------------------------
         0  supervisor, LAST       magic            b'SHMCOUN1'
         8  supervisor, once       catalogue        which words count what
        16  supervisor, once       made at          unix time, ns
        24  supervisor             turn             grows by one with each worker that
                                                    is added to the departed; its lowest
                                                    bit says which of the two blocks of
                                                    the departed is valid
    ------  ---------------------  ------------------------------------------------ 64
        64  supervisor             epoch[k]         of the worker that counts in block
                                                    k; k in 0..63; 0 = nobody ever did
       576  supervisor             pid[k]           for people to read
    ------  ---------------------  ---------------------------------------------- 2048
      2048  supervisor             block of the supervisor
      4096  supervisor             departed 0       counters of all workers that left
      6144  supervisor             departed 1
            +1536 each             folded[k]        the last epoch of slot k that is
                                                    in these counters
      8192  worker k; once it has  block k          what the worker of slot k counts
            left: supervisor                        (``catalogue``)
    ------  ---------------------  -------------------------------------------- 139264

A block whose epoch is in ``folded`` of the valid departed is not counted: its numbers
are in those counters. ``departed`` says how a worker gets there exactly once.

A supervisor goes on with the words of the one before it, also if all processes of the
deployment were killed meanwhile. A deployment that stops removes the file.
"""

from __future__ import annotations

import logging
import mmap
import os
import time
from pathlib import Path
from typing import Final

from shmstream.errors import LayoutMismatch, SupervisorUnavailable
from shmstream.metrics.catalogue import BLOCK_WORDS, CATALOGUE
from shmstream.ring.layout import MAX_SLOTS, WORD

log = logging.getLogger('shmstream')

MAGIC: Final = int.from_bytes(b'SHMCOUN1', 'little')
STRIDE: Final = 256
"""Words from one block to the next: a block shares no cache line with another."""

W_MAGIC, W_CATALOGUE, W_MADE, W_TURN = range(4)
W_EPOCHS: Final = 8
W_PIDS: Final = W_EPOCHS + MAX_SLOTS
SUPERVISOR: Final = STRIDE
DEPARTED: Final = (2 * STRIDE, 3 * STRIDE)
FOLDED: Final = BLOCK_WORDS
"""Index of ``folded[0]`` in a block of the departed."""

_SLOT0 = 4 * STRIDE
WORDS_IN_FILE: Final = _SLOT0 + MAX_SLOTS * STRIDE
FILE_BYTES: Final = WORDS_IN_FILE * WORD


def slot_at(slot: int) -> int:
    """Return the index of the first word of a slot's block."""
    return _SLOT0 + slot * STRIDE


class Blocks:
    """The mapped file.

    Attributes:
        words: the whole file as u64 words.
    """

    def __init__(self, fd: int) -> None:
        if os.fstat(fd).st_size != FILE_BYTES:
            raise LayoutMismatch('the counters have another size')
        self.words = memoryview(mmap.mmap(fd, FILE_BYTES)).cast('Q')

    @classmethod
    def create(cls, path: Path) -> Blocks:
        """Make an empty file at ``path``; supervisor only.

        Raises:
            OSError: the file system has no room for it.
        """
        aside = path.with_suffix('.new')
        fd = os.open(aside, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            # All of it is reserved now, so that no process is ever killed for want of
            # memory when it counts.
            os.posix_fallocate(fd, 0, FILE_BYTES)
            blocks = cls(fd)
            blocks.words[W_CATALOGUE] = CATALOGUE
            blocks.words[W_MADE] = time.time_ns()
            blocks.words[W_MAGIC] = MAGIC
            os.rename(aside, path)
        except BaseException:
            os.unlink(aside)
            raise
        finally:
            os.close(fd)
        return blocks

    @classmethod
    def attach(cls, path: Path) -> Blocks:
        """Map the file at ``path``.

        Raises:
            SupervisorUnavailable: there is no such file: no deployment runs here.
            LayoutMismatch: another version of shmstream has made it.
        """
        try:
            fd = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
        except FileNotFoundError:
            raise SupervisorUnavailable(
                f'{path} is not there: no deployment runs in this directory'
            ) from None
        try:
            blocks = cls(fd)
        finally:
            os.close(fd)
        if blocks.words[W_MAGIC] != MAGIC or blocks.words[W_CATALOGUE] != CATALOGUE:
            raise LayoutMismatch(f'{path} is of another version of shmstream')
        return blocks

    @property
    def made_at(self) -> float:
        """When the counters began at 0: unix time in seconds."""
        made: int = self.words[W_MADE]
        return made / 1e9

    def epoch(self, slot: int) -> int:
        """The epoch of the worker that counts, or has counted, in a slot's block."""
        epoch: int = self.words[W_EPOCHS + slot]
        return epoch

    def supervisor(self) -> memoryview:
        """The block of the supervisor."""
        return self.words[SUPERVISOR : SUPERVISOR + BLOCK_WORDS]

    def block(self, slot: int, epoch: int) -> memoryview | None:
        """Return the block of a slot; None if it is not for the worker of this epoch.

        Call it while you hold the slot's lock, so that the slot stays yours.
        """
        if self.epoch(slot) != epoch:
            return None
        at = slot_at(slot)
        return self.words[at : at + BLOCK_WORDS]


def block_of(path: Path, slot: int, epoch: int) -> memoryview | None:
    """Return the block of this process's slot; None if it has to do without.

    A process without a block serves all the same, and only its numbers are missing.
    """
    try:
        return Blocks.attach(path).block(slot, epoch)
    except (SupervisorUnavailable, LayoutMismatch, OSError) as ex:
        log.warning('this process is not in the metrics: %s', ex)
        return None
