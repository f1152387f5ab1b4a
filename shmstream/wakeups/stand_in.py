"""What is posted and waited on where there can be no semaphore: a pipe.

POSIX semaphores are files in ``/dev/shm``, wherever the runtime directory is. Where
that is absent or read-only, each process has a second pipe beside the one of its event
loops (``pipe``), which two cannot wait on::

    bell-<epoch>          rings the event loops
    bell-<epoch>-posts    stands in for the semaphore: a byte is a post

It costs two system calls where a semaphore that nobody waits on costs none.
"""

from __future__ import annotations

import contextlib
import fcntl
import io
import os
import select
import struct
import termios
from pathlib import Path
from typing import Any

import posix_ipc

from shmstream.memory.worker_table import WorkerTable
from shmstream.wakeups.pipe import DRAIN, open_pipe, pipe_path
from shmstream.wakeups.semaphore import semaphore_name


def posts_path(table: WorkerTable, epoch: int) -> Path:
    """Return where the pipe is that stands in for a worker's semaphore."""
    bell = pipe_path(table, epoch)
    return bell.with_name(f'{bell.name}-posts')


class PipePosts:
    """As a ``posix_ipc.Semaphore``, as far as bells use one.

    Raises:
        OSError: there is no such pipe, or no descriptor left.
    """

    def __init__(self, path: Path | str) -> None:
        # An object, so that a forked child's copy is closed with all it has forgotten.
        self._pipe = io.FileIO(open_pipe(path), 'r+')

    def _fileno(self) -> int:
        try:
            return self._pipe.fileno()
        except ValueError:
            raise posix_ipc.ExistentialError('it has been closed') from None

    @property
    def value(self) -> int:
        """How many posts there are."""
        size = fcntl.ioctl(self._fileno(), termios.FIONREAD, bytes(4))
        posts: int = struct.unpack('i', size)[0]
        return posts

    def release(self) -> None:
        """Post."""
        with contextlib.suppress(BlockingIOError):  # full: it has been ringing long
            os.write(self._fileno(), b'!')

    def acquire(self, wait_s: float) -> None:
        """Take all posts.

        Raises:
            posix_ipc.BusyError: there was none in time.
        """
        fd = self._fileno()
        waiting = select.poll()
        waiting.register(fd, select.POLLIN)
        if waiting.poll(wait_s * 1000):
            with contextlib.suppress(BlockingIOError):
                os.read(fd, DRAIN)
                return
        raise posix_ipc.BusyError('nobody has posted')

    def close(self) -> None:
        """Close it."""
        self._pipe.close()


def open_posts(name: str, stand_in: Path | None) -> Any:
    """Return a worker's semaphore, or what stands in for it.

    Args:
        name: the semaphore's name.
        stand_in: where the pipe is, if there is one.

    Raises:
        posix_ipc.ExistentialError: there is neither.
        OSError: there is no descriptor left, or the like.
    """
    try:
        return posix_ipc.Semaphore(name)
    except (posix_ipc.Error, OSError):
        if stand_in is None or not stand_in.exists():
            raise
    return PipePosts(stand_in)


def posts_of(table: WorkerTable, epoch: int) -> Any:
    """Return what the worker with this epoch is posted by; raises as ``open_posts``."""
    return open_posts(semaphore_name(table.token, epoch), posts_path(table, epoch))
