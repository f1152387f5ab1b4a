"""The ring against the plainest model that there is: all bytes ever written."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)

from shmstream import clock
from shmstream.errors import LocalError, NoRoom, OffsetLost
from shmstream.ring import ring
from shmstream.ring.layout import HEADER_BYTES, W_DROPPED, W_HEAD, W_RESERVED
from shmstream.ring.ring import RingReader, RingWriter
from shmstream.ring.state import State
from tests.ring.buffers import make_view

BASES = [0, 0, 1, (1 << 32) - 100, (1 << 63) - (1 << 20)]
"""Where the counters begin. Offsets end at 2^63; a run writes less than 2^20 bytes."""

chunk_sizes = st.floats(0, 3).map(lambda share: share**2 / 3)


def text(offset: int, size: int) -> bytes:
    """Never a zero: an untouched byte of the ring shows."""
    return bytes((offset + i) * 31 % 255 + 1 for i in range(size))


class RingMachine(RuleBasedStateMachine):
    """Append anything, read anything; memory is granted in pieces or refused."""

    @initialize(
        capacity=st.one_of(st.integers(1, 300), st.integers(2000, 5000)),
        base=st.sampled_from(BASES),
        granted=st.floats(0, 1),
    )
    def make(self, capacity: int, base: int, granted: float) -> None:
        self.capacity = capacity
        self.view = make_view(capacity)
        words = self.view[:HEADER_BYTES].cast('Q')
        # A stream that has been there before: full, or new.
        self.base = base
        self.kept = bytearray()
        self.granted = int(capacity * granted)
        if base:
            first = max(base - capacity, 0)
            self.base = first
            self.kept += text(first, base - first)
            for i, byte in enumerate(self.kept):
                self.view[HEADER_BYTES + (first + i) % capacity] = byte
            words[W_HEAD], words[W_DROPPED] = base, first
            self.granted = capacity
        words[W_RESERVED] = self.granted
        self.refuse = False
        self.generous = 1.0
        self.writer = RingWriter(self.view, self.reserve)
        self.reader = RingReader(self.view)
        self.dropped = self.base

    def reserve(self, needed: int) -> int:
        assert self.granted < needed <= self.capacity
        assert self.reader.total_bytes == self.total
        if self.refuse:
            raise NoRoom('full')
        rest = self.capacity - needed
        self.granted = needed + int(rest * self.generous)
        return self.granted

    @property
    def total(self) -> int:
        return self.base + len(self.kept)

    def entered(self, chunk: bytes) -> None:
        self.kept += chunk
        self.dropped = max(self.dropped, self.total - self.capacity)

    def expected(self, offset: int, size: int) -> bytes:
        return bytes(self.kept[offset - self.base : offset - self.base + size])

    @rule(share=chunk_sizes, refuse=st.booleans(), generous=st.floats(0, 1))
    def append(self, share: float, refuse: bool, generous: float) -> None:
        chunk = text(self.total, round(3 * self.capacity * share))
        self.refuse, self.generous = refuse, generous
        before = bytes(self.view)
        try:
            self.writer.append(chunk)
        except NoRoom:
            assert refuse
            assert bytes(self.view) == before
        else:
            self.entered(chunk)
            ahead = min(self.total + ring.TAIL_ROOM, self.capacity)
            assert self.granted >= ahead, 'no room for a last event'

    @rule(size=st.integers(0, 80))
    def append_last(self, size: int) -> None:
        chunk = text(self.total, size)
        before = bytes(self.view)
        self.refuse = True
        if self.writer.append_last(chunk):
            self.entered(chunk)
        else:
            assert self.total + size > self.granted
            assert bytes(self.view) == before

    @rule(at=st.floats(-0.5, 1.5), limit=st.one_of(st.none(), st.integers(0, 6000)))
    def read(self, at: float, limit: int | None) -> None:
        held = self.total - self.dropped
        offset = max(self.dropped + round(held * at), 0)
        limited = (limit,) if limit is not None else ()
        if offset < self.dropped:
            with pytest.raises(OffsetLost) as lost:
                self.reader.read(offset, *limited)
            ex = lost.value
            assert (ex.offset, ex.dropped_prefix, ex.total_bytes) == (
                offset,
                self.dropped,
                self.total,
            )
        else:
            size = self.capacity if limit is None else limit
            found = self.reader.read(offset, *limited)
            assert found == self.expected(offset, size)

    @precondition(lambda self: self.total)
    @rule()
    def succeed(self) -> None:
        """A writer that takes over sees the same stream."""
        self.writer = RingWriter(self.view, self.reserve)

    @invariant()
    def all_that_is_held_can_be_read(self) -> None:
        if not hasattr(self, 'reader'):
            return
        assert self.reader.total_bytes == self.writer.head == self.total
        assert self.reader.dropped_prefix == self.dropped
        assert self.reader.read(self.dropped) == self.expected(
            self.dropped, self.capacity
        )
        assert self.reader.read(self.total) == b''
        if self.granted < self.capacity:
            untouched = self.view[HEADER_BYTES + self.granted :]
            assert not any(untouched), 'touched without memory behind it'


TestRingMachine = RingMachine.TestCase
TestRingMachine.settings = settings(
    max_examples=120, stateful_step_count=30, deadline=None, print_blob=True
)


@given(capacity=st.integers(1, 40), sizes=st.lists(st.integers(0, 130), max_size=8))
@settings(deadline=None, print_blob=True)
def test_every_offset_of_a_small_ring_reads_right_or_is_lost(
    capacity: int, sizes: list[int]
) -> None:
    view = make_view(capacity)
    writer, reader = RingWriter(view), RingReader(view)
    whole = b''
    for size in sizes:
        chunk = text(len(whole), size)
        writer.append(chunk)
        whole += chunk
        for offset in range(len(whole) + 2):
            if offset < len(whole) - capacity:
                with pytest.raises(OffsetLost):
                    reader.read(offset)
            else:
                assert reader.read(offset) == whole[offset:]
                assert reader.read(offset, 3) == whole[offset : offset + 3]


@given(data=st.data(), capacity=st.integers(1, 200), total=st.integers(0, 500))
@settings(deadline=None, print_blob=True)
def test_what_a_dead_producer_may_have_overwritten_never_comes_back(
    data: Any, capacity: int, total: int
) -> None:
    """A producer is killed within an append; its successor adds the last event.

    The killed one had published the new dropped prefix and copied a part. Nothing below
    that prefix may be read as if it were whole once the successor has written.
    """
    view = make_view(capacity)
    words = view[:HEADER_BYTES].cast('Q')
    RingWriter(view).append(text(0, total))
    # What is larger than the ring goes through it in pieces.
    chunk = data.draw(st.integers(1, capacity), label='chunk')
    copied = data.draw(st.integers(0, chunk), label='copied')
    if total + chunk > capacity:
        words[W_DROPPED] = total + chunk - capacity
    for i in range(total, total + copied):
        view[HEADER_BYTES + i % capacity] = 0
    event = data.draw(st.integers(1, capacity), label='event')

    successor = RingWriter(view)
    successor.append_last(text(total, event))

    reader = RingReader(view)
    assert reader.total_bytes == total + event
    for offset in range(total + event):
        try:
            found = reader.read(offset)
        except OffsetLost:
            assert offset < total, 'the last event is lost'
            continue
        assert found == text(offset, total + event - offset)


def test_room_is_asked_for_ahead_so_that_a_last_event_fits() -> None:
    view = make_view(1 << 16)
    asked: list[int] = []

    def reserve(needed: int) -> int:
        asked.append(needed)
        return needed

    writer = RingWriter(view, reserve)
    writer.append(bytes(5000))
    assert asked == [5000 + 2050]
    assert ring.TAIL_ROOM == 2050
    assert writer.append_last(bytes(2050))
    assert not writer.append_last(b'.')
    assert asked == [5000 + 2050]


def test_a_writer_without_a_reserve_takes_all_as_backed() -> None:
    view = make_view(300)
    writer = RingWriter(view)
    writer.append(bytes(1000))
    assert RingReader(view).reserved == 300


def test_only_a_final_state_finishes() -> None:
    view = make_view(10)
    writer = RingWriter(view)
    with pytest.raises(LocalError, match='live is not a final state'):
        writer.finish(State.LIVE, clock.moment())
    assert RingReader(view).completed_at_ns == 0
    writer.finish(State.COMPLETE, clock.Moment(77, 78, 79))
    assert RingReader(view).completed_at_ns == 77
    assert RingReader(view).state is State.COMPLETE
    # What has ended never changes.
    with pytest.raises(LocalError, match='complete already'):
        writer.finish(State.ABORTED, clock.moment())
    assert RingReader(view).state is State.COMPLETE


@pytest.mark.parametrize('limit', [0, -1])
def test_a_read_of_nothing_returns_nothing(limit: int) -> None:
    view = make_view(10)
    RingWriter(view).append(b'abc')
    assert RingReader(view).read(0, limit) == b''


def test_a_copy_does_not_change_when_the_ring_does() -> None:
    view = make_view(8)
    writer, reader = RingWriter(view), RingReader(view)
    writer.append(b'abcdefgh')
    copy = reader.read(0)
    writer.append(b'ABCDEFGH')
    assert copy == b'abcdefgh'
