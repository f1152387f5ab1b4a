"""A process's pipe, by which others ring its event loop without a thread in between.

An event loop cannot wait on a semaphore. The doorbell's thread could wait instead, but
it would have to wake the loop by a descriptor, and two wake-ups in a row cost about
three times as much as one, in time and in CPU (``python -m bench wake``).

A ring is ``RING_BYTES``: the time since boot in nanoseconds, from which the reader sees
how long the ring took to wake it. A write of so few bytes is atomic.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Callable
from pathlib import Path

from shmstream import clock
from shmstream.memory.worker_table import WorkerTable
from shmstream.metrics.catalogue import WAKE
from shmstream.metrics.counts import Counts

PIPE_PREFIX = 'bell-'

RING_BYTES = 8
"""Bytes of one ring."""

DRAIN = 65536
"""Bytes that are read at a ring: as many as a pipe holds."""


def pipe_path(table: WorkerTable, epoch: int) -> Path:
    """Return the path of the pipe of the worker with this epoch: beside the table."""
    return table.folder / f'{PIPE_PREFIX}{epoch:016x}'


def open_pipe(path: Path | str) -> int:
    """Open a FIFO for reading or writing, without waiting for the other end.

    The descriptor is opened for reading and writing, so that a writer gets no SIGPIPE
    when the reader has gone, and a reader gets no end-of-file when there are no
    writers.

    Raises:
        OSError: there is no such FIFO, or no descriptor is left.
    """
    return os.open(path, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOFOLLOW)


class PipeBell:
    """Calls ``on_ring`` on the loop at each ring; made and closed on the loop's thread.

    Counts in ``counts`` how long each ring took.

    Raises:
        OSError: the pipe cannot be opened.
        NotImplementedError: this loop cannot wait for descriptors.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        path: Path,
        on_ring: Callable[[], None],
        counts: Counts | None = None,
    ) -> None:
        self._loop = loop
        self._on_ring = on_ring
        self._counts = counts or Counts()
        self._fd = open_pipe(path)
        try:
            loop.add_reader(self._fd, self._on_readable)
        except BaseException:
            self.abandon()
            raise

    def _on_readable(self) -> None:
        # The pipe is read before ``on_ring`` looks: a ring that is read after the look
        # would be lost.
        with contextlib.suppress(BlockingIOError):
            rings = os.read(self._fd, DRAIN)
            # The first ring of several is the one that has woken the loop.
            rung = int.from_bytes(rings[:RING_BYTES], 'little')
            self._counts.observe(WAKE, clock.now_ns() - rung)
        self._on_ring()

    def close(self) -> None:
        """Stop waiting on the pipe, and close it. Idempotent."""
        if self._fd >= 0 and not self._loop.is_closed():
            self._loop.remove_reader(self._fd)
        self.abandon()

    def abandon(self) -> None:
        """Close the descriptor only: the loop is closed, or the parent process's."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)
