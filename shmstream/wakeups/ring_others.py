"""Ringing other processes, each by its semaphore or by its pipe."""

from __future__ import annotations

import contextlib
import logging
import os
import threading
from collections.abc import Callable

import posix_ipc

from shmstream import clock
from shmstream.memory.worker_table import WorkerTable
from shmstream.metrics.catalogue import RINGS
from shmstream.metrics.counts import Counts
from shmstream.ring.layout import MAX_SLOTS
from shmstream.wakeups.pipe import RING_BYTES, open_pipe, pipe_path
from shmstream.wakeups.semaphore import post
from shmstream.wakeups.shared_board import BY_PIPE
from shmstream.wakeups.stand_in import posts_of

log = logging.getLogger('shmstream')

_RINGS = RINGS.at


class Bells:
    """The bells of all workers, opened at their first ring. Thread-safe.

    Args:
        table: the worker table.
        own: slot and epoch of this process; None if it has no slot (the supervisor).
        mark_here: what producers do for followers in their own process instead of
            ringing; takes a place on the board.
        counts: counts the rings.

    Attributes:
        table: the worker table.
        mark_here: see above.
        rung_naps: for each slot, the nap number that this process has last rung for.
    """

    def __init__(
        self,
        table: WorkerTable,
        own: tuple[int, int] | None = None,
        mark_here: Callable[[int], None] = lambda place: None,
        counts: Counts | None = None,
    ) -> None:
        self.table = table
        self.mark_here = mark_here
        self._own = own
        self._counts = counts or Counts()
        self._open: dict[int, _Bell] = {}
        self.rung_naps = [0] * MAX_SLOTS
        # Held around each use and each close: closing a semaphore that a thread uses
        # crashes the process. Reentrant: a signal handler may ring too.
        self._lock = threading.RLock()

    @property
    def own_slot(self) -> int | None:
        """The slot of this process; None if it has none, or none any more."""
        if self._own is None:
            return None
        slot, epoch = self._own
        return slot if self.table.epoch(slot) == epoch else None

    def ring(self, slot: int, nap: int = 0) -> None:
        """Ring the worker in this slot; does nothing if there is none.

        Args:
            slot: the slot.
            nap: the worker's nap number, which says whether to ring by the pipe; 0: by
                the semaphore.
        """
        with self._lock:
            try:
                bell = self._bell(slot)
                if bell is not None:
                    bell.ring(bool(nap & BY_PIPE))
                    self._counts.words[_RINGS] += 1
            except (OSError, posix_ipc.Error) as ex:
                # No descriptor is left, or a signal handler has closed the bell. The
                # worker looks by itself within 200 ms.
                log.warning('cannot ring slot %d: %s', slot, ex)

    def _bell(self, slot: int) -> _Bell | None:
        epoch = self.table.epoch(slot)
        known = self._open.get(slot)
        if known is not None:
            if known.epoch == epoch:
                return known
            self._open.pop(slot, None)
            known.close()
        if not epoch:
            return None
        try:
            bell = _Bell(self.table, epoch)
        except posix_ipc.ExistentialError:
            return None
        self._open[slot] = bell
        return bell

    def close(self) -> None:
        """Close all bells."""
        with self._lock:
            while self._open:
                self._open.popitem()[1].close()


class _Bell:
    """One worker's semaphore, and its pipe, which is opened at the first ring by it."""

    def __init__(self, table: WorkerTable, epoch: int) -> None:
        # ``_fd`` is set first, because ``__del__`` runs even if there is no such
        # semaphore.
        self._fd = -1
        self.epoch = epoch
        self._pipe = pipe_path(table, epoch)
        self._semaphore = posts_of(table, epoch)

    def ring(self, by_pipe: bool) -> None:
        if by_pipe and self._write():
            return
        post(self._semaphore)

    def _write(self) -> bool:
        try:
            if self._fd < 0:
                self._fd = open_pipe(self._pipe)
            # The reader sees how long it has slept after the ring (``pipe``).
            os.write(self._fd, clock.now_ns().to_bytes(RING_BYTES, 'little'))
        except BlockingIOError:
            # The pipe is full of rings: one more makes no difference.
            return True
        except OSError:
            return False
        return True

    def close(self) -> None:
        with contextlib.suppress(posix_ipc.ExistentialError):  # it has been closed
            self._semaphore.close()
        self._close_pipe()

    def _close_pipe(self) -> None:
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)

    def __del__(self) -> None:
        # After a fork, or when the process has another slot, nobody calls ``close``.
        self._close_pipe()
