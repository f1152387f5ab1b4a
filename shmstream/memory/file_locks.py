"""Locks on bytes of a file that belong to an open file description (``F_OFD_SETLK``).

The kernel drops such a lock when the last descriptor and the last mapping of the
description are gone, also those of forked children, however the processes ended. So a
lock never outlives its holders. Nobody ever waits for such a lock. The contents of the
locked bytes do not matter, and a ``flock`` on the same file is independent of these
locks.
"""

from __future__ import annotations

import fcntl
import os
import struct
from typing import Final

_FLOCK: Final = struct.Struct('hhqqi4x')
"""``struct flock``: type, whence, start, length, pid (0)."""


def lock_alone(fd: int, start: int = 0, count: int = 1) -> None:
    """Lock these bytes exclusively for this description.

    Raises:
        BlockingIOError: another description has locked one of the bytes.
        OSError: as ``fcntl``.
    """
    _set(fd, fcntl.F_WRLCK, start, count)


def lock_shared(fd: int, start: int = 0, count: int = 1) -> None:
    """Lock these bytes; any number of descriptions may share the lock.

    Raises:
        BlockingIOError: another description has locked one of the bytes exclusively.
        OSError: as ``fcntl``.
    """
    _set(fd, fcntl.F_RDLCK, start, count)


def unlock(fd: int, start: int = 0, count: int = 1) -> None:
    """Unlock these bytes, also for other processes that share the description."""
    _set(fd, fcntl.F_UNLCK, start, count)


def is_locked(fd: int, start: int = 0, count: int = 1) -> bool:
    """Whether another description has locked one of the bytes; takes no lock.

    The descriptor may be one that cannot write.
    """
    asked = _FLOCK.pack(fcntl.F_WRLCK, os.SEEK_SET, start, count, 0)
    kind, *_ = _FLOCK.unpack(fcntl.fcntl(fd, fcntl.F_OFD_GETLK, asked))
    return bool(kind != fcntl.F_UNLCK)


def _set(fd: int, kind: int, start: int, count: int) -> None:
    fcntl.fcntl(fd, fcntl.F_OFD_SETLK, _FLOCK.pack(kind, os.SEEK_SET, start, count, 0))
