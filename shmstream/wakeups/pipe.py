"""The pipe of a process: by it others ring an event loop, with no thread between.

A loop cannot wait on a semaphore: the doorbell's thread would wait for it, and wake the
loop then, by a descriptor in any case. Two wake-ups one after the other cost some three
times as much as one, in time as in CPU (``python -m bench wake``).
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Callable
from pathlib import Path

from shmstream.memory.worker_table import WorkerTable

PIPE_PREFIX = 'bell-'

DRAIN = 65536
"""Bytes that are taken out at a ring: as many as a pipe holds."""


def pipe_path(table: WorkerTable, epoch: int) -> Path:
    """Return where the pipe of the worker with this epoch is: beside the table."""
    return table.folder / f'{PIPE_PREFIX}{epoch:016x}'


def open_pipe(path: Path | str) -> int:
    """Open a FIFO for either end, without waiting for the other one.

    Both ends at once: a writer is never told by SIGPIPE that the reader has gone, and a
    reader never that there are no writers yet.

    Raises:
        OSError: it is not there, or there are no descriptors left.
    """
    return os.open(path, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOFOLLOW)


class PipeBell:
    """Calls ``on_ring`` on the loop when it is rung; made and closed on its thread.

    Raises:
        OSError: the pipe cannot be opened.
        NotImplementedError: this loop waits for no descriptors.
    """

    def __init__(
        self, loop: asyncio.AbstractEventLoop, path: Path, on_ring: Callable[[], None]
    ) -> None:
        self._loop = loop
        self._on_ring = on_ring
        self._fd = open_pipe(path)
        try:
            loop.add_reader(self._fd, self._on_readable)
        except BaseException:
            self.abandon()
            raise

    def _on_readable(self) -> None:
        # Before anything is looked at: a ring that is not answered by a look is lost.
        with contextlib.suppress(BlockingIOError):
            os.read(self._fd, DRAIN)
        self._on_ring()

    def close(self) -> None:
        """Let go of it. Idempotent."""
        if self._fd >= 0 and not self._loop.is_closed():
            self._loop.remove_reader(self._fd)
        self.abandon()

    def abandon(self) -> None:
        """Close the descriptor only: the loop is closed, or another process's."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)
