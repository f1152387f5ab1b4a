"""A writer stopped at any of its steps, in the middle of a reader's copy; at any byte.

The test drives the interleaving itself::

    reader   loads head, copies some bytes ...              ... copies the rest, checks
    writer                                 appends, to any
                                           of its steps

so that what a torture of two processes may or may not meet is met for certain, and the
readers that are known to be wrong are found so on every machine.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from shmstream.errors import OffsetLost
from shmstream.ring.ring import RingReader, RingWriter
from tests.ring.actors import READERS
from tests.ring.buffers import content, make_view

CAPACITY = 6


class Stopped(Exception):
    """The writer stays where it is."""


class Stepwise:
    """What a writer stores through: it stops before its n-th store."""

    def __init__(self, inner: memoryview, left: list[int]) -> None:
        self._inner = inner
        self._left = left

    def __getitem__(self, at: Any) -> Any:
        return self._inner[at]

    def __setitem__(self, at: int | slice, value: Any) -> None:
        if isinstance(at, int):
            self._step()
            self._inner[at] = value
            return
        for to, byte in zip(range(*at.indices(len(self._inner))), value, strict=True):
            self._step()
            self._inner[to] = byte

    def _step(self) -> None:
        if not self._left[0]:
            raise Stopped
        self._left[0] -= 1


class Cut:
    """What a reader copies from: something happens before its n-th byte."""

    def __init__(self, inner: memoryview, at: int, meanwhile: Callable[[], None]):
        self._inner = inner
        self._left = at
        self._meanwhile = meanwhile

    def __getitem__(self, at: slice) -> Any:
        return _Copy(self, range(*at.indices(len(self._inner))))

    def byte(self, at: int) -> int:
        if self._left == 0:
            self._meanwhile()
        self._left -= 1
        return self._inner[at]


class _Copy(bytes):
    """A slice that is copied byte by byte when it is asked for."""

    def __new__(cls, cut: Cut, where: range) -> _Copy:
        return super().__new__(cls, map(cut.byte, where))

    def tobytes(self) -> bytes:
        return bytes(self)


def everything() -> Iterator[tuple[int, int, int, int, int]]:
    """Bytes written before, the offset, the cut, bytes appended, the writer's steps."""
    for before in range(1, 2 * CAPACITY + 1):
        for offset in range(max(before - CAPACITY, 0), before):
            for cut in range(before - offset):
                for size in range(1, CAPACITY + 1):
                    for steps in range(size + 3):
                        yield before, offset, cut, size, steps


def read_wrong(kind: type[RingReader]) -> tuple[int, int, int]:
    """Return how many copies were right, were lost, and were wrong."""
    right = lost = wrong = 0
    for before, offset, cut, size, steps in everything():
        view = make_view(CAPACITY)
        for at in range(before):
            RingWriter(view).append(content(at, 1))
        writer, left = RingWriter(view), [steps]
        patched: Any = writer
        patched._words = Stepwise(patched._words, left)
        patched._data = Stepwise(patched._data, left)

        def meanwhile(
            writer: RingWriter = writer, before: int = before, size: int = size
        ) -> None:
            with contextlib.suppress(Stopped):
                writer.append(content(before, size))

        reader: Any = kind(view)
        reader._data = Cut(reader._data, cut, meanwhile)
        try:
            copy = reader.read(offset)
        except OffsetLost:
            lost += 1
        else:
            if copy and copy == content(offset, len(copy)):
                right += 1
            else:
                wrong += 1
    print(f'{kind.__name__}: {right} right, {lost} lost, {wrong} wrong')
    return right, lost, wrong


def test_no_wrong_byte_is_read_wherever_the_writer_stops() -> None:
    right, lost, wrong = read_wrong(RingReader)
    assert right > 1000
    assert lost > 1000
    assert wrong == 0


@pytest.mark.parametrize('kind', ['head', 'trusting'])
def test_a_reader_that_checks_the_wrong_thing_is_caught(kind: str) -> None:
    *_, wrong = read_wrong(READERS[kind])
    assert wrong > 100
