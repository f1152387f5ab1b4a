"""Places on the board: given, shared, and given to others."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from shmstream.memory.worker_table import PLACES, WorkerTable
from shmstream.wakeups.shared_board import Board
from tests.wakeups.scene import (
    SLOT,
    Stream,
    Watcher,
    entered,
)

Produce = Callable[[], Stream]


def test_each_mark_is_told_to_those_whose_segment_it_is(
    produce: Produce, board: Board
) -> None:
    streams = [produce() for _ in range(70)]
    pairs = [(entered(board, s), entered(board, s)) for s in streams]
    for at in (0, 31, 32, 63, 64, 69):
        streams[at].write()
        board.collect()
        board.collect()
        found = [(one.take(), two.take()) for one, two in pairs]
        assert found[at] == (1, 1)
        assert sum(map(sum, found)) == 2
    # From the top: fewer blocks are looked at, and the others still are.
    for at in reversed(range(70)):
        streams[at].write()
        board.collect()
        assert [watcher.take() for watcher in pairs[at]] == [1, 1]
        board.leave(pairs[at][0])
        streams[at].write()
        board.collect()
        assert [watcher.take() for watcher in pairs[at]] == [0, 1]
        board.leave(pairs[at][1])
        assert streams[at].write() == []
        board.collect()
        assert [watcher.take() for watcher in pairs[at]] == [0, 0]


def test_who_enters_is_known_to_a_producer_that_has_just_marked(
    stream: Stream, board: Board, table: WorkerTable
) -> None:
    """It publishes, marks nobody, and only then the other is there."""
    watcher = Watcher(stream.segment)
    fence = stream.marker._fence
    seen: list[bytes] = []

    def enter_first() -> None:
        setattr(stream.marker, '_fence', fence)  # noqa: B010
        board.enter(watcher)
        # This snapshot has the head in it. The mark comes all the same.
        seen.append(bytes(stream.segment.view[64:72]))

    setattr(stream.marker, '_fence', enter_first)  # noqa: B010
    assert stream.write() == [SLOT]
    assert seen == [(1).to_bytes(8, 'little')]
    board.collect_on_ring()
    assert watcher.take() == 1


def test_who_enters_while_bytes_come_is_marked_or_sees_them(
    stream: Stream, board: Board
) -> None:
    """The producer looks between the place and the fence after it."""
    watcher = Watcher(stream.segment)
    fence = board._fence

    def write_first() -> None:
        setattr(board, '_fence', fence)  # noqa: B010
        assert stream.write() == [SLOT]

    setattr(board, '_fence', write_first)  # noqa: B010
    board.enter(watcher)
    assert stream.writer.head == 1
    board.collect_on_ring()
    assert watcher.take() == 1


@pytest.mark.parametrize('first', ['old', 'new'])
def test_a_place_that_changes_hands_tells_its_new_owner(
    produce: Produce, board: Board, table: WorkerTable, first: str
) -> None:
    old, new = produce(), produce()
    gone = entered(board, old)
    for _ in range(3):
        old.write()
        board.collect()
    assert gone.take() == 3
    board.leave(gone)
    watcher = entered(board, new)
    place = table.place_at(SLOT, 0)
    # The old owner's producer has not noticed: its mark comes here once more.
    for stream in (old, new) if first == 'old' else (new, old):
        before = table.words[place]
        stream.write()
        assert table.words[place] != before
    board.collect()
    assert watcher.take() == 1
    assert gone.take() == 0
    # By now it has.
    before = table.words[place]
    assert old.write() == []
    assert table.words[place] == before
    for _ in range(3):
        new.write()
        board.collect()
        assert watcher.take() == 1


def test_heads_that_are_alike_make_marks_that_are_not(
    produce: Produce, board: Board
) -> None:
    """A place in other hands shows the first mark, also if the heads are the same."""
    for _ in range(5):
        stream = produce()
        watcher = entered(board, stream)
        stream.write(b'12345')
        board.collect()
        assert watcher.take() == 1
        board.leave(watcher)


class Cheap:
    """As much of a segment as a board needs."""

    def __init__(self, number: int) -> None:
        self.identity = (-1, number)
        self.place: int | None = None

    def set_place(self, slot: int, epoch: int, place: int | None) -> None:
        self.place = place


def test_segments_for_which_there_is_no_place_share_one(
    produce: Produce, board: Board
) -> None:
    many: list[Watcher] = [Watcher(Cheap(n)) for n in range(PLACES - 1)]  # type: ignore[arg-type]
    for watcher in many:
        board.enter(watcher)
    places = [watcher.segment.place for watcher in many]  # type: ignore[attr-defined]
    assert places == list(range(PLACES - 1))
    streams = [produce() for _ in range(3)]
    crowd = [entered(board, stream) for stream in streams]
    for stream in streams:
        assert stream.write() == [SLOT]
        board.collect()
        assert [watcher.take() for watcher in crowd] == [1, 1, 1]
    # Whoever comes now finds a place again; the crowd stays where it is.
    board.leave(many[2000])
    single = produce()
    alone = entered(board, single)
    single.write()
    board.collect()
    assert alone.take() == 1
    assert [watcher.take() for watcher in crowd] == [0, 0, 0]
    board.leave(crowd[0])
    assert streams[0].write() == []
    streams[1].write()
    board.collect()
    assert [watcher.take() for watcher in crowd] == [0, 1, 1]
    board.leave(crowd[1])
    board.leave(crowd[2])
    # The crowd's place is not given away.
    board.leave(alone)
    assert [entered(board, s) for s in (single, produce(), produce())]
    single.write()
    board.collect()
    assert sum(watcher.take() for watcher in many) == 0


def test_the_crowd_may_come_back(produce: Produce, board: Board) -> None:
    for number in range(PLACES - 1):
        board.enter(Watcher(Cheap(number)))  # type: ignore[arg-type]
    stream = produce()
    for _ in range(3):
        one, two = entered(board, stream), entered(board, stream)
        assert stream.write() == [SLOT]
        board.collect_on_ring()
        assert (one.take(), two.take()) == (1, 1)
        board.leave(one)
        board.leave(two)
        board.collect_on_ring()
