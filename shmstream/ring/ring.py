"""The ring: one producer appends; any reader copies and then validates the copy.

It works on any writable buffer that is laid out as ``layout`` draws it, so that it can
be tested without files and processes.

PRODUCER                                    READER at ``offset``
 1 publish the new dropped prefix            1 load head
 2 copy the chunk in (two slices at a wrap)  2 copy [offset, head) out
 3 publish head                              3 load dropped prefix; if it passed
 4 mark, full fence, ring napping processes    ``offset``: drop the copy, may be torn

Why no lock: bytes below head never change until the dropped prefix has passed them, and
the prefix is published *before* they are overwritten. A reader that saw a byte change
therefore also sees the prefix beyond it (x86 keeps load-load and store-store order).
A check against head instead would accept torn copies: 109,729 of them were measured in
8 seconds.

SIGKILL may come after any step. After step 1, the ring has dropped a few bytes early.
After step 2, the copied bytes are beyond head, so nobody reads them. After step 3, the
stream is whole, and a follower may sleep until its next look, 200 ms later at the most.
"""

from __future__ import annotations

import sys
from collections.abc import Callable

from shmstream import clock
from shmstream.clock import Moment
from shmstream.errors import LayoutMismatch, LocalError, OffsetLost
from shmstream.ring.layout import (
    B_CHANGES,
    HEADER_BYTES,
    W_BEGUN,
    W_CANCELLED,
    W_CAPACITY,
    W_COMPLETED,
    W_DROPPED,
    W_ENDED,
    W_ENDED_BOOT,
    W_FIRST_BYTE,
    W_HEAD,
    W_RESERVED,
    W_STATE,
)
from shmstream.ring.state import FIRST_FINAL, STATES, State, effective

TAIL_ROOM = 2050
"""Bytes reserved beyond every append. So the frame that tells a failure or a stop
(``dialects.frames.MAX_FRAME``) fits even when memory has run out, together with the
blank line that ends an unfinished event."""

_ALL = 1 << 64
"""This means "all of the ring is reserved": more than any offset plus ``TAIL_ROOM``."""

Reserve = Callable[[int], int]
"""Backs the first n bytes of the ring with memory, or raises. Returns how many bytes
are backed now."""


def _capacity_of(view: memoryview) -> int:
    capacity: int = _words_of(view)[W_CAPACITY]
    if capacity < 1 or HEADER_BYTES + capacity > len(view):
        raise LayoutMismatch(f'capacity {capacity} does not fit {len(view)} bytes')
    return capacity


def _words_of(view: memoryview) -> memoryview:
    return view[:HEADER_BYTES].cast('Q')


class RingWriter:
    """The producer's side: one writer at a time per ring, and not thread-safe.

    Args:
        view: a writable buffer of bytes, header and ring.
        reserve: called with the number of ring bytes needed, before any of them is
            touched for the first time; returns how many are backed by memory now. None:
            the whole buffer is backed already.
    """

    def __init__(self, view: memoryview, reserve: Reserve | None = None) -> None:
        self.capacity = _capacity_of(view)
        self._words = _words_of(view)
        self._data = view[HEADER_BYTES : HEADER_BYTES + self.capacity]
        self._reserve = reserve
        self.head: int = self._words[W_HEAD]
        # A predecessor may have died between publishing the dropped prefix and
        # publishing head: the dropped bytes may be torn, and must stay dropped.
        self._dropped: int = self._words[W_DROPPED]
        if reserve is None:
            self._words[W_RESERVED] = self.capacity
        self._set_reserved(self._words[W_RESERVED])
        if not self.head:
            # The first append takes the way that reserves memory, and so notes its
            # time; no other append asks whether it is the first.
            self._enough = 0

    def _set_reserved(self, reserved: int) -> None:
        # Once the whole ring is backed, no append calls ``reserve`` again.
        self._reserved = _ALL if reserved >= self.capacity else reserved
        self._enough = self._reserved

    def append(self, chunk: bytes) -> None:
        """Append the chunk and publish it. O(len(chunk)), also when the ring is full.

        Of a chunk larger than the ring only the tail stays, but head counts all of it.

        Raises:
            whatever ``reserve`` raises; then nothing has been written.
        """
        size = len(chunk)
        capacity = self.capacity
        if size > capacity:
            # The chunk is appended in pieces, so that the dropped prefix never passes
            # head. If it did, a producer killed at that moment would leave a stream of
            # which nothing can be read, not even its error event.
            for at in range(0, size, capacity):
                self.append(chunk[at : at + capacity])
            return
        start = self.head
        head = start + size
        if head + TAIL_ROOM > self._enough:
            self._extend(min(head + TAIL_ROOM, self.capacity))
        if head - capacity > self._dropped:
            # The prefix is kept in ``_dropped`` too: if the copy below fails (no
            # memory), a shorter append must not lower the word again, because the bytes
            # that this append has dropped may be half overwritten.
            self._words[W_DROPPED] = self._dropped = head - capacity
        at = start % capacity
        end = at + size
        if end <= capacity:
            self._data[at:end] = chunk
        else:
            first = capacity - at
            self._data[at:] = chunk[:first]
            self._data[: end - capacity] = chunk[first:]
        self._words[W_HEAD] = self.head = head

    def append_last(self, chunk: bytes) -> bool:
        """Append without reserving memory; False if the chunk does not fit then."""
        if self.head + len(chunk) > self._reserved:
            return False
        enough, self._enough = self._enough, _ALL
        try:
            self.append(chunk)
        finally:
            self._enough = enough
        return True

    def _extend(self, needed: int) -> None:
        if needed > self._reserved:
            assert self._reserve is not None
            reserved = self._reserve(needed)
            self._words[W_RESERVED] = reserved
            self._set_reserved(reserved)
        if not self._words[W_FIRST_BYTE]:
            self._words[W_FIRST_BYTE] = clock.now_ns()
        self._enough = self._reserved

    @property
    def state(self) -> State:
        """The state that the producer has published."""
        return State(self._words[W_STATE])

    def go_live(self) -> None:
        """Publish that the stream has begun; write its content type before."""
        if self._words[W_STATE] == State.PENDING:
            # This word is written first, so that every process that sees another state
            # than pending can tell whether the stream has begun.
            self._words[W_BEGUN] = 1
            self._words[W_STATE] = State.LIVE

    def finish(self, state: State, at: Moment) -> None:
        """Publish the final state. Nothing may be appended after it.

        Raises:
            LocalError: ``state`` is not final, or the stream has a final state
                already and must not change any more.
        """
        if not state.final:
            raise LocalError(f'{state.label} is not a final state')
        if self.state.final:
            raise LocalError(f'the stream is {self.state.label} already')
        self._words[W_COMPLETED] = at.wall_ns
        self._words[W_ENDED] = at.now_ns
        self._words[W_ENDED_BOOT] = at.boot
        self._words[W_STATE] = state


class RingReader:
    """A reader's side: any number of readers, in any process and thread. Read-only."""

    def __init__(self, view: memoryview) -> None:
        self.capacity = _capacity_of(view)
        self._words = _words_of(view)
        self._data = view[HEADER_BYTES : HEADER_BYTES + self.capacity].toreadonly()
        # Bound once, because hubs call it at every look.
        self.snapshot: Callable[[], bytes] = view[B_CHANGES].tobytes

    @property
    def total_bytes(self) -> int:
        """Bytes that ever entered the stream."""
        head: int = self._words[W_HEAD]
        return head

    @property
    def dropped_prefix(self) -> int:
        """The first stream offset that is still there."""
        dropped: int = self._words[W_DROPPED]
        return dropped

    @property
    def reserved(self) -> int:
        """Bytes of the ring that are backed by memory."""
        reserved: int = self._words[W_RESERVED]
        return reserved

    @property
    def completed_at_ns(self) -> int:
        """When the stream ended, unix time in ns; 0 until then. For showing."""
        completed: int = self._words[W_COMPLETED]
        return completed

    @property
    def ended(self) -> Moment:
        """When the stream ended, on both clocks; zeros until then."""
        words = self._words
        return Moment(words[W_COMPLETED], words[W_ENDED], words[W_ENDED_BOOT])

    @property
    def producer_state(self) -> State:
        """The state that the producer has published."""
        try:
            return STATES[self._words[W_STATE]]
        except IndexError:
            # The word was valid when the segment was mapped, so it has been damaged
            # since then.
            return State.ABORTED

    @property
    def finished(self) -> bool:
        """Whether the producer has ended the stream: its state is final."""
        # A damaged word is higher than all states; it stands for ``ABORTED``.
        return bool(self._words[W_STATE] >= FIRST_FINAL)

    @property
    def state(self) -> State:
        """The state that readers are told (``ring.state``)."""
        return effective(self.producer_state, self._words[W_CANCELLED])

    def read(self, offset: int, limit: int = sys.maxsize) -> bytes:
        """Return up to ``limit`` bytes from ``offset`` on, empty if none are there yet.

        Raises:
            OffsetLost: the ring has dropped the byte at ``offset``, before the copy or
                while it was made.
        """
        words = self._words
        head = words[W_HEAD]
        if words[W_DROPPED] > offset:
            raise OffsetLost(offset, words[W_DROPPED], words[W_HEAD])
        # A damaged head must not make the copy larger than the ring.
        size = min(head - offset, limit, self.capacity)
        if size <= 0:
            return b''
        at = offset % self.capacity
        end = at + size
        if end <= self.capacity:
            copy = self._data[at:end].tobytes()
        else:
            copy = b''.join((self._data[at:], self._data[: end - self.capacity]))
        if words[W_DROPPED] > offset:
            raise OffsetLost(offset, words[W_DROPPED], words[W_HEAD])
        return copy

    def views(self, offset: int) -> list[memoryview]:
        """Return views of all bytes from ``offset`` on. Nobody may write any more.

        Raises:
            OffsetLost: the ring has dropped the byte at ``offset``.
        """
        dropped, head = self.dropped_prefix, self.total_bytes
        if dropped > offset:
            raise OffsetLost(offset, dropped, head)
        size = min(head - offset, self.capacity)
        if size <= 0:
            return []
        at = offset % self.capacity
        end = at + size
        if end <= self.capacity:
            return [self._data[at:end]]
        return [self._data[at:], self._data[: end - self.capacity]]
