"""The ring: append by one producer, copy-then-validate reads by anyone.

Works on any writable buffer that is laid out as ``layout`` draws it, so that it can be
tested without files and processes.

PRODUCER                                    READER at ``offset``
 1 publish the new dropped prefix            1 load head
 2 copy the chunk in (two slices at a wrap)  2 copy [offset, head) out
 3 publish head                              3 load dropped prefix; if it passed
 4 mark, full fence, look who naps             ``offset``, the copy may be torn: drop it

Why no lock: bytes below head never change until the dropped prefix has passed them, and
the prefix is published *before* they are overwritten. A reader that saw a byte change
therefore also sees the prefix beyond it (x86 keeps load-load and store-store order).
Validating against head instead would accept torn copies: 109,729 in 8 seconds when it
was tried.

What SIGKILL leaves, by the step that it came after: 1, a few bytes are given up early;
2, the copied bytes are beyond head, so nobody reads them; 3, the stream is whole and a
follower may sleep until its next look, 200 ms later at the most.
"""

from __future__ import annotations

import sys
from collections.abc import Callable

from shmstream.clock import Moment
from shmstream.errors import LayoutMismatch, LocalError, OffsetLost
from shmstream.ring.layout import (
    B_CHANGES,
    HEADER_BYTES,
    W_CANCELLED,
    W_CAPACITY,
    W_COMPLETED,
    W_DROPPED,
    W_ENDED,
    W_ENDED_BOOT,
    W_HEAD,
    W_RESERVED,
    W_STATE,
)
from shmstream.ring.state import STATES, State, effective

TAIL_ROOM = 2050
"""Reserved beyond every append, so that what tells a failure or a stop fits when room
runs out; after a blank line, if an event is unfinished."""

_ALL = 1 << 64
"""As much as is reserved when all of the ring is: beyond every offset and its room."""

Reserve = Callable[[int], int]
"""Back the ring with memory up to n bytes; returns how far it now is, or raises."""


def _capacity_of(view: memoryview) -> int:
    capacity: int = _words_of(view)[W_CAPACITY]
    if capacity < 1 or HEADER_BYTES + capacity > len(view):
        raise LayoutMismatch(f'capacity {capacity} does not fit {len(view)} bytes')
    return capacity


def _words_of(view: memoryview) -> memoryview:
    return view[:HEADER_BYTES].cast('Q')


class RingWriter:
    """The producer's side. One at a time per ring; not safe to share among threads.

    Args:
        view: a writable buffer of bytes, header and ring.
        reserve: called before a byte of the ring is touched for the first time, with
            the number of ring bytes needed; returns the number that are now backed by
            memory. Without it all of the buffer is taken to be backed already.
    """

    def __init__(self, view: memoryview, reserve: Reserve | None = None) -> None:
        self.capacity = _capacity_of(view)
        self._words = _words_of(view)
        self._data = view[HEADER_BYTES : HEADER_BYTES + self.capacity]
        self._reserve = reserve
        self.head: int = self._words[W_HEAD]
        # A predecessor may have died after it gave bytes up and before it had
        # overwritten all of them: they must not come back, torn.
        self._dropped: int = self._words[W_DROPPED]
        if reserve is None:
            self._words[W_RESERVED] = self.capacity
        self._set_reserved(self._words[W_RESERVED])

    def _set_reserved(self, reserved: int) -> None:
        # Once all of the ring is backed, no append needs to compare again.
        self._reserved = _ALL if reserved >= self.capacity else reserved

    def append(self, chunk: bytes) -> None:
        """Append the chunk and publish it. O(len(chunk)), also when the ring is full.

        A chunk larger than the ring goes through it: its tail stays, all of it counts.

        Raises:
            whatever ``reserve`` raises, before anything has been written.
        """
        size = len(chunk)
        capacity = self.capacity
        if size > capacity:
            # In pieces: were the dropped prefix beyond head, a producer that is killed
            # just then would leave a stream of which nothing can be read, not even its
            # error event.
            for at in range(0, size, capacity):
                self.append(chunk[at : at + capacity])
            return
        start = self.head
        head = start + size
        if head + TAIL_ROOM > self._reserved:
            self._extend(min(head + TAIL_ROOM, self.capacity))
        if head - capacity > self._dropped:
            # The word first. Should the copy below fail (memory), a shorter append must
            # not lower it: bytes that are overwritten by halves would be there again.
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
        """Append within what is reserved already; False if it does not fit there."""
        if self.head + len(chunk) > self._reserved:
            return False
        reserved, self._reserved = self._reserved, _ALL
        try:
            self.append(chunk)
        finally:
            self._reserved = reserved
        return True

    def _extend(self, needed: int) -> None:
        assert self._reserve is not None
        reserved = self._reserve(needed)
        self._words[W_RESERVED] = reserved
        self._set_reserved(reserved)

    @property
    def state(self) -> State:
        """The producer's own word."""
        return State(self._words[W_STATE])

    def go_live(self) -> None:
        """Say that the answer has begun. Its content type must be written before."""
        if self._words[W_STATE] == State.PENDING:
            self._words[W_STATE] = State.LIVE

    def finish(self, state: State, at: Moment) -> None:
        """Publish the final state. Nothing may be appended after it.

        Raises:
            LocalError: it is no final state, or the stream has one already: its bytes
                must never change again.
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
    """A reader's side: any number, in any process and thread. Writes nothing."""

    def __init__(self, view: memoryview) -> None:
        self.capacity = _capacity_of(view)
        self._words = _words_of(view)
        self._data = view[HEADER_BYTES : HEADER_BYTES + self.capacity].toreadonly()
        # One method bound once: a waiting follower is compared on every tick.
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
        """Unix time in ns, 0 until the end; for showing."""
        completed: int = self._words[W_COMPLETED]
        return completed

    @property
    def ended(self) -> Moment:
        """When it ended, on both clocks; zeros until then."""
        words = self._words
        return Moment(words[W_COMPLETED], words[W_ENDED], words[W_ENDED_BOOT])

    @property
    def producer_state(self) -> State:
        """The producer's own word."""
        try:
            return STATES[self._words[W_STATE]]
        except IndexError:
            # Checked when it was attached, so damaged since: nothing good can come.
            return State.ABORTED

    @property
    def state(self) -> State:
        """The state as readers are told it."""
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
        """Return views of all from ``offset`` on; for a ring that nobody writes to.

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
