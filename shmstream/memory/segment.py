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

from shmstream.clock import Moment
from shmstream.errors import LayoutMismatch, StreamNotFound
from shmstream.ids import MAX_ALIAS_BYTES, MAX_ID_BYTES, digest_of_raw
from shmstream.memory.file_locks import lock_alone, lock_shared
from shmstream.memory.follower_count import FollowerCount
from shmstream.ring.layout import (
    B_ALIAS,
    B_FAILURE,
    B_ID,
    B_KEPT,
    B_OWNER,
    B_TYPE,
    EPOCH_TAG,
    HEADER_BYTES,
    LAYOUT_VERSION,
    MAGIC,
    MAX_CAPACITY,
    MAX_CONTENT_TYPE,
    MAX_FAILURE,
    MAX_KEPT,
    W_ALIAS_LENGTH,
    W_ASKED,
    W_ASKED_BOOT,
    W_CANCELLED,
    W_CAPACITY,
    W_CREATED,
    W_DIALECT,
    W_EVICTED,
    W_FAILURE_LENGTH,
    W_GENERATION,
    W_ID_LENGTH,
    W_KEPT_LENGTH,
    W_MAGIC,
    W_PLACES,
    W_STATE,
    W_TYPE_LENGTH,
    W_VERSION,
)
from shmstream.ring.ring import RingReader
from shmstream.ring.state import STATES, State


def _map(fd: int, size: int) -> mmap.mmap:
    # Since Python 3.13 a mapping need not keep a duplicate of the descriptor.
    options: dict[str, Any] = {'trackfd': False} if sys.version_info >= (3, 13) else {}
    return mmap.mmap(fd, size, **options)


class Segment:
    """A mapped segment. Map it with ``attach`` or ``adopt``; ``new_segment`` makes it.

    Attributes:
        view: the whole segment, as writable bytes.
        words: the header as u64 words.
        capacity: bytes of the ring.
        generation: the random number of this session, as 16 hexadecimal digits.
        identity: (device, inode), unique while the segment is mapped.
        followers: counts the followers, in this process and in all.
    """

    def __init__(self, fd: int, size: int) -> None:
        self.view = memoryview(_map(fd, size))
        self.words = self.view[:HEADER_BYTES].cast('Q')
        found = os.fstat(fd)
        self.identity = (found.st_dev, found.st_ino)
        self.capacity: int = self.words[W_CAPACITY]
        self.generation = f'{self.words[W_GENERATION]:016x}'
        self.followers = FollowerCount(self.words)
        self._content_type = ''

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
    def adopt(cls, fd: int) -> Segment:
        """Map and check the segment behind a descriptor, which stays the caller's.

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
        segment = cls(fd, found.st_size)
        words = segment.words
        if words[W_MAGIC] != MAGIC:
            raise LayoutMismatch('not a segment, or not ready yet')
        if words[W_VERSION] != LAYOUT_VERSION:
            raise LayoutMismatch(
                f'layout version {words[W_VERSION]}, this is {LAYOUT_VERSION}'
            )
        if segment.capacity != found.st_size - HEADER_BYTES:
            raise LayoutMismatch(
                f'capacity {segment.capacity} in a file of {found.st_size} bytes'
            )
        if not 0 < words[W_ID_LENGTH] <= MAX_ID_BYTES:
            raise LayoutMismatch(f'conversation id of {words[W_ID_LENGTH]} bytes')
        if words[W_ALIAS_LENGTH] > MAX_ALIAS_BYTES:
            raise LayoutMismatch(f'alias of {words[W_ALIAS_LENGTH]} bytes')
        if words[W_TYPE_LENGTH] > MAX_CONTENT_TYPE:
            raise LayoutMismatch(f'content type of {words[W_TYPE_LENGTH]} bytes')
        if words[W_KEPT_LENGTH] > MAX_KEPT:
            raise LayoutMismatch(f'kept headers of {words[W_KEPT_LENGTH]} bytes')
        if words[W_STATE] >= len(STATES):
            raise LayoutMismatch(f'no such state: {words[W_STATE]}')
        return segment

    @functools.cached_property
    def reader(self) -> RingReader:
        """The reader of the ring; all may share it, because it keeps no state."""
        return RingReader(self.view)

    @property
    def _raw_id(self) -> bytes:
        length = min(self.words[W_ID_LENGTH], MAX_ID_BYTES)
        return bytes(self.view[B_ID : B_ID + length])

    @property
    def conv_id(self) -> str:
        """The conversation id."""
        return self._raw_id.decode('utf-8', 'replace')

    @property
    def alias(self) -> str:
        """The second name of the session; empty if it has none, or none yet."""
        length = min(self.words[W_ALIAS_LENGTH], MAX_ALIAS_BYTES)
        if not length:
            return ''
        return bytes(self.view[B_ALIAS : B_ALIAS + length]).decode('utf-8', 'replace')

    def set_alias(self, alias: bytes) -> None:
        """Store the alias, of ``MAX_ALIAS_BYTES`` at most; the producer calls it once.

        The length is stored last. So a process that dies in here leaves no alias.
        """
        self.view[B_ALIAS : B_ALIAS + len(alias)] = alias
        self.words[W_ALIAS_LENGTH] = len(alias)

    @functools.cached_property
    def digest(self) -> str:
        """The digest of the owner and id in the header: the name of the session."""
        return digest_of_raw(self.owner, self._raw_id)

    @property
    def owner(self) -> bytes:
        """The owner's digest."""
        return bytes(self.view[B_OWNER])

    @property
    def content_type(self) -> str:
        """The content type of the stream; empty while the session is pending."""
        if self._content_type:
            return self._content_type
        # The state is read before the type, because the producer may write the type
        # until the stream is no longer pending.
        settled = self.words[W_STATE] != State.PENDING
        length = min(self.words[W_TYPE_LENGTH], MAX_CONTENT_TYPE)
        found = bytes(self.view[B_TYPE : B_TYPE + length]).decode('latin-1')
        if settled:
            self._content_type = found
        return found

    def set_content_type(self, content_type: str) -> None:
        """Store the content type; the producer calls it once, before going live."""
        raw = content_type.encode('latin-1', 'replace')[:MAX_CONTENT_TYPE]
        self.view[B_TYPE : B_TYPE + len(raw)] = raw
        self.words[W_TYPE_LENGTH] = len(raw)

    @property
    def kept_headers(self) -> bytes:
        """The headers that replays have as well: lines of ``kept_headers.to_keep``."""
        length = min(self.words[W_KEPT_LENGTH], MAX_KEPT)
        return bytes(self.view[B_KEPT : B_KEPT + length]) if length else b''

    def set_kept_headers(self, lines: bytes) -> None:
        """Store the kept headers; the producer calls it once, before going live."""
        self.view[B_KEPT : B_KEPT + len(lines)] = lines
        self.words[W_KEPT_LENGTH] = len(lines)

    @property
    def dialect(self) -> int:
        """The number of the stream's dialect (``dialects.table``); 0 if unknown."""
        number: int = self.words[W_DIALECT]
        return number

    def set_dialect(self, number: int) -> None:
        """Store the number of the dialect, once the producer knows it."""
        self.words[W_DIALECT] = number

    @property
    def failure(self) -> str:
        """Why the stream has failed, if its bytes do not tell it; else empty."""
        length = min(self.words[W_FAILURE_LENGTH], MAX_FAILURE)
        raw = bytes(self.view[B_FAILURE : B_FAILURE + length])
        return raw.decode('utf-8', 'replace')

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

    @property
    def created_at_ns(self) -> int:
        """When the segment was made, unix time in ns; for showing."""
        created: int = self.words[W_CREATED]
        return created

    @property
    def asked(self) -> Moment:
        """When the producer asked for the segment; of two, the later one is newer."""
        words = self.words
        return Moment(words[W_CREATED], words[W_ASKED], words[W_ASKED_BOOT])

    @property
    def cancelled(self) -> bool:
        """Whether the supervisor has told the producer to stop."""
        return bool(self.words[W_CANCELLED])

    @property
    def evicted(self) -> bool:
        """Whether the session can no longer be found under its id."""
        return bool(self.words[W_EVICTED])


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
