"""Locks on bytes of a file that belong to an open file description (``F_OFD_SETLK``).

They are gone when the last descriptor or mapping that keeps the description is, however
its process has ended, in forked children too: what a lock says is the kernel's word.
Nobody ever waits for one. What is written at these bytes has nothing to do with them,
and they know nothing of ``flock``, which the same file may have as well.
"""

from __future__ import annotations

import fcntl
import os
import struct
from typing import Final

_FLOCK: Final = struct.Struct('hhqqi4x')
"""``struct flock``: type, whence, start, length, pid (0)."""


def lock_alone(fd: int, start: int = 0, count: int = 1) -> None:
    """Lock these bytes for this description alone.

    Raises:
        OSError: ``BlockingIOError`` if another description has locked one of them.
    """
    _set(fd, fcntl.F_WRLCK, start, count)


def lock_shared(fd: int, start: int = 0, count: int = 1) -> None:
    """Lock these bytes together with whoever does the same.

    Raises:
        OSError: ``BlockingIOError`` if another description has one of them alone.
    """
    _set(fd, fcntl.F_RDLCK, start, count)


def unlock(fd: int, start: int = 0, count: int = 1) -> None:
    """Let these bytes go, whoever else keeps the description."""
    _set(fd, fcntl.F_UNLCK, start, count)


def _set(fd: int, kind: int, start: int, count: int) -> None:
    fcntl.fcntl(fd, fcntl.F_OFD_SETLK, _FLOCK.pack(kind, os.SEEK_SET, start, count, 0))
