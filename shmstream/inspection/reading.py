"""The bytes of one stream, without a slot.

A reader with a slot is woken by the producer. This one looks again and again instead,
because one of the 64 slots is worth more to a deployment than these looks: each reads
three words of memory. The mapping cannot be written. It is locked as that of every
reader is, so that the supervisor counts its memory until the reader has gone.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from shmstream.errors import OffsetLost, StreamNotFound
from shmstream.memory.directory import RuntimeDirectory
from shmstream.memory.segment import Segment, hold
from shmstream.ring.state import State

LOOK_S = 0.05
"""Seconds between two looks at a stream that is silent. Nobody sees this delay."""

_PIECE = 256 * 1024


@dataclass(frozen=True)
class Lost:
    """Bytes that the ring has dropped.

    Attributes:
        start: the offset of the first of them.
        end: the offset after the last of them.
    """

    start: int
    end: int


class Tail:
    """Reads one stream; made by ``open_tail``."""

    def __init__(self, segment: Segment) -> None:
        self._segment = segment
        self._reader = segment.reader
        self.generation = segment.generation

    @property
    def content_type(self) -> str:
        """The media type of the bytes; empty while the stream is pending."""
        return self._segment.content_type

    @property
    def state(self) -> State:
        """What readers are told of the stream."""
        return self._reader.state

    @property
    def total_bytes(self) -> int:
        """Bytes that have been written to the stream."""
        return self._reader.total_bytes

    @property
    def failure(self) -> str:
        """Why the stream has failed, if its bytes do not tell it; else empty."""
        return self._segment.failure

    @property
    def evicted(self) -> bool:
        """Whether the stream can no longer be found by its id."""
        return self._segment.evicted

    def follow(
        self,
        offset: int,
        wait: Callable[[float], object] = time.sleep,
        orphaned: Callable[[], bool] = lambda: False,
    ) -> Iterator[bytes | Lost]:
        """Yield the bytes from an offset on, and follow the stream to its end.

        It also ends when the stream is evicted, and all that was written before has
        been yielded. ``state`` and ``evicted`` say then how it has ended.

        Args:
            offset: the first byte.
            wait: waits for this many seconds.
            orphaned: whether nobody writes the stream any more, and nobody will end it.
                It is called once in each wait.
        """
        reader = self._reader
        while True:
            # In this order: all bytes are there once the state is final.
            over = reader.finished or self.evicted
            try:
                chunk = reader.read(offset, _PIECE)
            except OffsetLost as ex:
                yield Lost(offset, ex.dropped_prefix)
                offset = ex.dropped_prefix
                continue
            if chunk:
                offset += len(chunk)
                yield chunk
            elif over or orphaned():
                return
            else:
                wait(LOOK_S)


def open_tail(directory: RuntimeDirectory, name: str) -> Tail:
    """Map the stream with this name, for reading only.

    Raises:
        StreamNotFound: there is no such stream.
        LayoutMismatch: it is of another version, or damaged.
    """
    path = directory.segment(name)
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    except FileNotFoundError:
        raise StreamNotFound('stream not found or expired') from None
    try:
        hold(fd)
        return Tail(Segment.adopt(fd, writable=False))
    finally:
        os.close(fd)
