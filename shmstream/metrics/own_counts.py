"""The supervisor's counts: its own words, and the blocks that it gives to workers."""

from __future__ import annotations

import logging
from pathlib import Path

from shmstream.errors import LayoutMismatch, SupervisorUnavailable
from shmstream.memory.worker_table import WorkerTable
from shmstream.metrics import departed
from shmstream.metrics.blocks import Blocks
from shmstream.metrics.catalogue import RESTARTS
from shmstream.metrics.counts import Counts

log = logging.getLogger('shmstream.supervisor')


class OwnCounts(Counts):
    """Counts in the supervisor's block. One per runtime directory.

    Without a file it counts in private words, and workers get no blocks: a full file
    system is no reason not to serve.

    Args:
        blocks: the file; None if it cannot be made.
    """

    __slots__ = ('_blocks',)

    def __init__(self, blocks: Blocks | None = None) -> None:
        super().__init__()
        self._blocks = blocks
        if blocks is not None:
            # Not ``use``: the words go on from where the last supervisor stopped.
            self.words = blocks.supervisor()
            self._shared = True

    @classmethod
    def open(cls, path: Path, table: WorkerTable) -> OwnCounts:
        """Go on with the file of the last supervisor, or make a new one.

        Args:
            path: the file.
            table: the worker table: who is not in it any more has left.
        """
        try:
            blocks = Blocks.attach(path)
        except (SupervisorUnavailable, LayoutMismatch):
            try:
                return cls(Blocks.create(path))
            except OSError as ex:
                log.warning('no metrics: %s cannot be made: %s', path, ex.strerror)
                return cls()
        except OSError as ex:
            log.warning('no metrics: %s cannot be opened: %s', path, ex.strerror)
            return cls()
        departed.settle(blocks, table)
        own = cls(blocks)
        own.add(RESTARTS.at)
        return own

    def give(self, slot: int, epoch: int, pid: int) -> None:
        """Give a slot's block to a new worker."""
        if self._blocks is not None:
            departed.give(self._blocks, slot, epoch, pid)

    def fold(self, slot: int) -> None:
        """Add up what the worker of this slot has counted; it has left."""
        if self._blocks is not None:
            departed.fold(self._blocks, slot)
