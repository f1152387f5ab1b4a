"""Memory for a segment, reserved ahead of its use.

The file is sparse. Before a byte of the ring is touched for the first time, its page is
backed with memory (``posix_fallocate``), so that a full file system raises an error
and never SIGBUS.
"""

from __future__ import annotations

import errno
import os

from shmstream.errors import NoRoom
from shmstream.ring.layout import HEADER_BYTES

FIRST_EXTENT = 16 * 1024
"""Bytes reserved when a session is made: a short answer never reserves again."""

MAX_EXTENT = 512 * 1024
"""Largest extent, in bytes. An extent is half of what is reserved already, up to this:
little memory is wasted, and filling a ring takes some twenty system calls."""

_PAGE = 4096


def to_pages(size: int) -> int:
    """Return the memory that ``size`` bytes of a ring take: bytes in whole pages."""
    return -(-size // _PAGE) * _PAGE


def extend_to(reserved: int, needed: int, capacity: int) -> int:
    """Return how many bytes of the ring should be backed next.

    Args:
        reserved: ring bytes backed so far.
        needed: ring bytes that are about to be used, at most ``capacity``.
        capacity: bytes of the whole ring.
    """
    extent = min(max(needed - reserved, reserved // 2, FIRST_EXTENT // 2), MAX_EXTENT)
    return min(max(reserved + extent, needed), capacity)


def reserve_extent(fd: int, reserved: int, target: int) -> None:
    """Back the ring of a segment with memory from ``reserved`` to ``target`` bytes.

    Raises:
        NoRoom: the file system is full; earlier extents stay reserved.
    """
    try:
        os.posix_fallocate(fd, HEADER_BYTES + reserved, target - reserved)
    except OSError as ex:
        raise no_room(ex) from ex


_RUN_OUT = frozenset(
    {errno.ENOSPC, errno.EDQUOT, errno.EMFILE, errno.ENFILE, errno.ENOMEM}
)
"""Out of: file system (ENOSPC, EDQUOT), descriptors (EMFILE, ENFILE), memory or
mappings (ENOMEM)."""


def no_room(ex: OSError) -> Exception:
    """Return ``NoRoom`` if ``ex`` says that a resource has run out, else ``ex``."""
    if ex.errno in _RUN_OUT:
        return NoRoom(f'no room for the stream: {ex.strerror}')
    return ex
