"""A segment: one session's file, made by the supervisor and mapped by its users.

Its life::

    supervisor   new_segment: open .new-*, flock it, size it, reserve its first
                 extent, write the header (magic last)
    supervisor   rename it over sessions/<digest>, and pass the locked descriptor on
    producer     hold, adopt: map the passed descriptor, which brings the lock with it
    reader       open by name, hold, check, map
    producer     unlock at the end; the kernel unlocks if the producer dies
    supervisor   hold_alone and unlink; if somebody maps the file, rename it to
                 sessions/.gone-* until nobody does (``supervisor.gone``)

The lock is never free between creation and the producer's end: it belongs to the open
file description, which is kept by the message in the control socket on its way from the
supervisor to the producer. Segments are never reused, so a mapping can only ever show
the session that it was made for.

``hold`` takes another lock (``file_locks``), which says that a process maps the file: a
shared lock on the first byte, which stands for the whole file. The mapping keeps the
open file description, and so the lock, until it is unmapped, in forked children too.
The supervisor's own mappings take no such lock.

A mapping is closed when the last object that uses it is gone: nothing has to be closed
by hand, and no reader can lose its mapping.
"""

from __future__ import annotations

import errno
import functools
import mmap
import os
import stat
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from shmstream.errors import LayoutMismatch, StreamNotFound
from shmstream.memory.file_locks import lock_alone, lock_shared
from shmstream.memory.follower_count import FollowerCount
from shmstream.memory.segment_header import SegmentHeader
from shmstream.ring.layout import (
    B_ALIAS,
    B_FAILURE,
    B_KEPT,
    B_TYPE,
    EPOCH_TAG,
    HEADER_BYTES,
    MAX_CAPACITY,
    MAX_CONTENT_TYPE,
    MAX_FAILURE,
    W_ALIAS_LENGTH,
    W_DIALECT,
    W_FAILURE_LENGTH,
    W_KEPT_LENGTH,
    W_PLACES,
    W_TYPE_LENGTH,
)
from shmstream.ring.ring import RingReader


def _map(fd: int, size: int, writable: bool) -> mmap.mmap:
    # Since Python 3.13 a mapping need not keep a duplicate of the descriptor.
    options: dict[str, Any] = {'trackfd': False} if sys.version_info >= (3, 13) else {}
    access = mmap.ACCESS_WRITE if writable else mmap.ACCESS_READ
    return mmap.mmap(fd, size, access=access, **options)


class Segment(SegmentHeader):
    """A mapped segment. Map it with ``attach`` or ``adopt``; ``new_segment`` makes it.

    Its ``view`` is the whole segment.

    Attributes:
        identity: (device, inode), unique while the segment is mapped.
        followers: counts the followers, in this process and in all.
    """

    def __init__(self, fd: int, size: int, writable: bool = True) -> None:
        super().__init__(memoryview(_map(fd, size, writable)))
        found = os.fstat(fd)
        self.identity = (found.st_dev, found.st_ino)
        self.followers = FollowerCount(self.words)

    @classmethod
    def attach(cls, path: Path) -> Segment:
        """Map the segment at ``path``.

        Raises:
            StreamNotFound: there is no such file.
            LayoutMismatch: the file is not a segment of this version, or damaged.
        """
        fd = open_segment(path)
        try:
            return cls.adopt(fd)
        finally:
            os.close(fd)

    @classmethod
    def adopt(cls, fd: int, writable: bool = True) -> Segment:
        """Map and check the segment behind a descriptor, which stays the caller's.

        Args:
            fd: the descriptor.
            writable: whether the mapping can be written.

        Raises:
            LayoutMismatch: as for ``attach``.
        """
        found = os.fstat(fd)
        if not stat.S_ISREG(found.st_mode) or found.st_uid != os.geteuid():
            raise LayoutMismatch('not a regular file of this user')
        # The size is checked before mapping, because to touch bytes beyond the file's
        # end causes a SIGBUS.
        if not HEADER_BYTES < found.st_size <= HEADER_BYTES + MAX_CAPACITY:
            raise LayoutMismatch(f'no segment has {found.st_size} bytes')
        segment = cls(fd, found.st_size, writable)
        segment.check(found.st_size)
        return segment

    @functools.cached_property
    def reader(self) -> RingReader:
        """The reader of the ring; all may share it, because it keeps no state."""
        return RingReader(self.view)

    def set_alias(self, alias: bytes) -> None:
        """Store the alias, of ``MAX_ALIAS_BYTES`` at most; the producer calls it once.

        The length is stored last. So a process that dies in here leaves no alias.
        """
        self.view[B_ALIAS : B_ALIAS + len(alias)] = alias
        self.words[W_ALIAS_LENGTH] = len(alias)

    def set_content_type(self, content_type: str) -> None:
        """Store the content type; the producer calls it once, before going live."""
        raw = content_type.encode('latin-1', 'replace')[:MAX_CONTENT_TYPE]
        self.view[B_TYPE : B_TYPE + len(raw)] = raw
        self.words[W_TYPE_LENGTH] = len(raw)

    def set_kept_headers(self, lines: bytes) -> None:
        """Store the kept headers; the producer calls it once, before going live."""
        self.view[B_KEPT : B_KEPT + len(lines)] = lines
        self.words[W_KEPT_LENGTH] = len(lines)

    def set_dialect(self, number: int) -> None:
        """Store the number of the dialect, once the producer knows it."""
        self.words[W_DIALECT] = number

    def set_failure(self, why: str) -> None:
        """Store why the stream has failed, before its final state is published."""
        raw = why.encode('utf-8', 'replace')[:MAX_FAILURE]
        self.view[B_FAILURE : B_FAILURE + len(raw)] = raw
        self.words[W_FAILURE_LENGTH] = len(raw)

    def set_place(self, slot: int, epoch: int, place: int | None) -> None:
        """Publish the place on this worker's board for marks; None: no place any more.

        The word is tagged with the epoch (``ring.layout``), so that the word of a dead
        worker differs from every word of the slot's next worker.
        """
        if place is not None:
            self.words[W_PLACES + slot] = epoch & EPOCH_TAG | place + 1
        elif self.words[W_PLACES + slot] & EPOCH_TAG == epoch & EPOCH_TAG:
            # Otherwise the word belongs to the slot's next worker already.
            self.words[W_PLACES + slot] = 0

    def places(self, words: bytes, epoch_of: Callable[[int], int]) -> dict[int, int]:
        """Return the place of each slot whose worker is alive and follows.

        Args:
            words: a copy of the block of all place words (``B_PLACES``).
            epoch_of: the epoch of the worker in a slot, 0 if there is none.
        """
        return {
            slot: (word & ~EPOCH_TAG) - 1
            for slot, word in enumerate(memoryview(words).cast('Q'))
            if word & ~EPOCH_TAG and word & EPOCH_TAG == epoch_of(slot) & EPOCH_TAG
        }


def open_segment(path: Path | str) -> int:
    """Open a segment's file; the descriptor is the caller's to close.

    Raises:
        StreamNotFound: there is no such file.
        LayoutMismatch: the path is a link, a folder, or not readable.
    """
    try:
        return os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
    except FileNotFoundError:
        raise StreamNotFound('stream not found or expired') from None
    except OSError as ex:
        if ex.errno in (errno.ELOOP, errno.EACCES, errno.EISDIR, errno.ENXIO):
            raise LayoutMismatch(f'{path}: {ex.strerror}') from ex
        raise


def hold(fd: int) -> None:
    """Take the lock that says that the file is mapped; call it before mapping.

    Raises:
        StreamNotFound: the file is just being removed.
    """
    try:
        lock_shared(fd)
    except BlockingIOError:
        raise StreamNotFound('stream not found or expired') from None


def hold_alone(fd: int) -> None:
    """Keep all others from mapping the file, until the descriptor is closed.

    Raises:
        BlockingIOError: a process maps the file.
    """
    lock_alone(fd)
