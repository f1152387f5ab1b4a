"""The writer of a segment: it appends to the ring, and reserves memory ahead of that.

Only the process that holds the lock of the segment's file may have a writer: the
producer, or the supervisor after the producer has died.
"""

from __future__ import annotations

import io
from collections.abc import Callable

from shmstream.errors import NoRoom
from shmstream.memory.reservation import extend_to, reserve_extent, to_pages
from shmstream.memory.segment import Segment
from shmstream.ring.layout import W_RESERVED
from shmstream.ring.ring import RingWriter


def segment_writer(
    segment: Segment, lock: int | io.FileIO, take: Callable[[int], bool] | None = None
) -> RingWriter:
    """Return the writer of a segment, for the holder of its lock.

    Args:
        segment: the segment.
        lock: the segment's locked file. A producer passes the file object: the number
            of a closed descriptor soon stands for another file.
        take: called with the size of each new extent, in bytes; returns whether this
            memory may be taken. None: it always may.

    The writer raises ``NoRoom`` when ``take`` refuses or the file system is full.
    """
    words, capacity = segment.words, segment.capacity

    def may_go_to(target: int) -> bool:
        size = to_pages(target) - to_pages(words[W_RESERVED])
        return take is None or size == 0 or take(size)

    def reserve(needed: int) -> int:
        reserved = words[W_RESERVED]
        target = extend_to(reserved, needed, capacity)
        if not may_go_to(target):
            # Reserve only what this append needs: the next one may be allowed more.
            target = min(to_pages(needed), target)
            if not may_go_to(target):
                raise NoRoom('no room for the stream: the memory limit is reached')
        fd = lock if isinstance(lock, int) else lock.fileno()
        reserve_extent(fd, reserved, target)
        return target

    return RingWriter(segment.view, reserve)
