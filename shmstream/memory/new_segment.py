"""Making a segment: its file, its first extent of memory, its lock and its header."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from shmstream.clock import Moment
from shmstream.memory.reservation import FIRST_EXTENT, no_room
from shmstream.memory.segment import Segment
from shmstream.ring.layout import (
    B_ID,
    B_OWNER,
    HEADER_BYTES,
    LAYOUT_VERSION,
    MAGIC,
    W_ASKED,
    W_ASKED_BOOT,
    W_CAPACITY,
    W_CREATED,
    W_GENERATION,
    W_ID_LENGTH,
    W_MAGIC,
    W_PRODUCER_EPOCH,
    W_RESERVED,
    W_VERSION,
    WORD,
)


def new_segment(
    path: Path,
    *,
    capacity: int,
    generation: int,
    created: Moment,
    producer_epoch: int,
    owner: bytes,
    conv_id: bytes,
) -> tuple[Segment, int]:
    """Make a segment at ``path`` and lock it; supervisor only.

    Args:
        path: the new file; it must not exist.
        capacity: bytes of the ring.
        generation: the random number of the session.
        created: the present wall clock, and the time since boot when the producer asked
            for the segment.
        producer_epoch: the epoch of the worker that will produce.
        owner: the owner's digest, 32 bytes.
        conv_id: the conversation id, UTF-8.

    Returns:
        The mapped segment, and the descriptor that holds the lock: the caller passes it
        on and closes it.

    Raises:
        NoRoom: the file system has no room for the header and the first extent, or
            this process has no descriptor or mapping left.
    """
    flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW
    try:
        locked = os.open(path, flags, 0o600)
    except OSError as ex:
        raise no_room(ex) from ex
    try:
        fcntl.flock(locked, fcntl.LOCK_EX | fcntl.LOCK_NB)
        size = HEADER_BYTES + capacity
        extent = min(FIRST_EXTENT, capacity)
        try:
            os.ftruncate(locked, size)
            os.posix_fallocate(locked, 0, HEADER_BYTES + extent)
            _write_header(
                locked,
                {
                    W_VERSION: LAYOUT_VERSION,
                    W_CAPACITY: capacity,
                    W_GENERATION: generation,
                    W_CREATED: created.wall_ns,
                    W_ASKED: created.now_ns,
                    W_ASKED_BOOT: created.boot,
                    W_PRODUCER_EPOCH: producer_epoch,
                    W_RESERVED: extent,
                    W_ID_LENGTH: len(conv_id),
                },
                owner,
                conv_id,
            )
            # The mapping gets an open file description of its own: a mapping keeps its
            # description, and must not keep the lock with it.
            fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
            try:
                segment = Segment(fd, size)
            finally:
                os.close(fd)
        except OSError as ex:
            raise no_room(ex) from ex
    except BaseException:
        os.close(locked)
        os.unlink(path)
        raise
    return segment, locked


def _write_header(
    fd: int, values: dict[int, int], owner: bytes, conv_id: bytes
) -> None:
    header = bytearray(HEADER_BYTES)
    with memoryview(header).cast('Q') as words:
        for word, value in values.items():
            words[word] = value
    header[B_OWNER] = owner
    header[B_ID : B_ID + len(conv_id)] = conv_id
    os.pwrite(fd, header, 0)
    # Last: if the supervisor is killed before this, the file counts as no segment.
    os.pwrite(fd, MAGIC.to_bytes(WORD, 'little'), W_MAGIC * WORD)
