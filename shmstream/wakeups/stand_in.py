"""The pipe that stands in for a doorbell's semaphore where semaphores are impossible.

POSIX semaphores are files in ``/dev/shm``, wherever the runtime directory is. If
``/dev/shm`` is absent or read-only, each process has a second pipe. The first pipe
(``pipe``) belongs to the event loops, and cannot have two waiters::

    bell-<epoch>          rings the event loops
    bell-<epoch>-posts    stands in for the semaphore: a byte is a post

A post and a wait by pipe cost two system calls. A semaphore on which nobody waits costs
none.
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
    """Return the path of the pipe that stands in for a worker's semaphore."""
    bell = pipe_path(table, epoch)
    return bell.with_name(f'{bell.name}-posts')


class PipePosts:
    """A pipe with the part of ``posix_ipc.Semaphore`` that doorbells use.

    Args:
        path: the path of the pipe.

    Raises:
        OSError: the pipe does not exist, or no file descriptor is left.
    """

    def __init__(self, path: Path | str) -> None:
        # A file object, so that a forked child's copy is closed when it is dropped.
        self._pipe = io.FileIO(open_pipe(path), 'r+')

    def _fileno(self) -> int:
        try:
            return self._pipe.fileno()
        except ValueError:
            raise posix_ipc.ExistentialError('it has been closed') from None

    @property
    def value(self) -> int:
        """The number of posts that have not been taken."""
        size = fcntl.ioctl(self._fileno(), termios.FIONREAD, bytes(4))
        posts: int = struct.unpack('i', size)[0]
        return posts

    def release(self) -> None:
        """Post once."""
        with contextlib.suppress(BlockingIOError):  # the pipe is full of posts
            os.write(self._fileno(), b'!')

    def acquire(self, wait_s: float) -> None:
        """Take all posts; wait at most ``wait_s`` seconds for the first one.

        Raises:
            posix_ipc.BusyError: no post came in time.
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
        """Close the pipe."""
        self._pipe.close()


def open_posts(name: str, stand_in: Path | None) -> Any:
    """Return a worker's semaphore, or the pipe that stands in for it.

    Args:
        name: the name of the semaphore.
        stand_in: the path of the pipe; None if no pipe stands in.

    Raises:
        posix_ipc.ExistentialError: neither the semaphore nor the pipe exists.
        OSError: no file descriptor is left, for example.
    """
    try:
        return posix_ipc.Semaphore(name)
    except (posix_ipc.Error, OSError):
        if stand_in is None or not stand_in.exists():
            raise
    return PipePosts(stand_in)


def posts_of(table: WorkerTable, epoch: int) -> Any:
    """Return the semaphore or pipe of this worker; raises as ``open_posts``."""
    return open_posts(semaphore_name(table.token, epoch), posts_path(table, epoch))
