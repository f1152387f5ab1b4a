"""The board and the producer's side of it, step by step in one thread."""

from __future__ import annotations

from collections.abc import Callable

from shmstream.memory.worker_table import WorkerTable
from shmstream.wakeups.producer_side import Marker
from shmstream.wakeups.shared_board import Board
from tests.wakeups.scene import (
    EPOCH,
    SLOT,
    NotedBells,
    Stream,
    entered,
    hire,
    nap,
)

Produce = Callable[[], Stream]


def test_who_does_not_follow_is_neither_marked_nor_rung(
    stream: Stream, board: Board, table: WorkerTable
) -> None:
    before = bytes(table.words)
    assert stream.write() == []
    assert bytes(table.words) == before


def test_a_process_naps_from_the_beginning(table: WorkerTable, stream: Stream) -> None:
    """Whatever the last worker in its slot left: nobody may wait for a first ring."""
    for epoch in (EPOCH, EPOCH + (1 << 40)):
        board = hire(table, SLOT, epoch)
        told = entered(board, stream)
        assert stream.write() == [SLOT]
        board.collect_on_ring()
        assert told.take() == 1
        # It dies awake.
        assert nap(table) == 0


def test_a_nap_is_rung_for_once_by_each_producer(
    produce: Produce, board: Board, table: WorkerTable
) -> None:
    streams = [produce() for _ in range(3)]
    everyone = [entered(board, stream) for stream in streams]
    hub = object()
    for _ in range(4):
        number = nap(table)
        assert number
        for stream in streams:
            assert stream.write() == [SLOT]
            assert stream.write() == []
        assert [told.take() for told in everyone] == [0, 0, 0]
        board.collect_on_ring()
        assert [told.take() for told in everyone] == [1, 1, 1]
        # Until those who were told are up, and while they are.
        assert nap(table) == 0
        assert streams[0].write() == []
        board.stay_awake(hub)
        assert streams[1].write() == []
        board.collect()
        assert [told.take() for told in everyone] == [1, 1, 0]
        board.nap(hub)
        assert nap(table) > number


def test_a_ring_for_nothing_renews_the_number(
    stream: Stream, board: Board, table: WorkerTable
) -> None:
    told = entered(board, stream)
    assert stream.write() == [SLOT]
    # Nobody is there any more when the ring is heard.
    board.leave(told)
    spent = nap(table)
    board.collect_on_ring()
    assert told.take() == 0
    assert nap(table) > spent
    board.enter(told)
    assert stream.write() == [SLOT]
    board.collect_on_ring()
    assert told.take() == 1


def test_what_is_marked_before_a_nap_is_told_when_it_begins(
    stream: Stream, board: Board
) -> None:
    told = entered(board, stream)
    hub = object()
    board.stay_awake(hub)
    board.collect()
    # This producer has found it awake, and has rung nobody.
    assert stream.write() == []
    assert told.take() == 0
    board.nap(hub)
    assert told.take() == 1


def test_a_ring_is_not_heeded_while_somebody_is_awake(
    stream: Stream, board: Board, table: WorkerTable
) -> None:
    told = entered(board, stream)
    board.stay_awake('hub')
    stream.write()
    board.collect_on_ring()
    assert told.take() == 0
    assert nap(table) == 0
    board.collect()
    assert told.take() == 1


def test_a_process_naps_when_the_last_of_its_hubs_does(
    stream: Stream, board: Board, table: WorkerTable
) -> None:
    told = entered(board, stream)
    board.stay_awake('one')
    board.stay_awake('two')
    board.nap('one')
    assert nap(table) == 0
    assert stream.write() == []
    # The other collects.
    assert told.take() == 0
    board.collect()
    assert told.take() == 1
    board.nap('two')
    assert stream.write() == [SLOT]


def test_a_state_is_marked_although_the_head_stays(
    stream: Stream, board: Board
) -> None:
    told = entered(board, stream)
    for state in range(5):
        stream.marker.mark_state(state)
        board.collect()
        assert told.take() == 1


def test_another_producer_of_the_same_process_need_not_ring_again(
    stream: Stream, board: Board, table: WorkerTable
) -> None:
    entered(board, stream)
    assert stream.write() == [SLOT]
    other = Marker(stream.segment, stream.bells)
    other.ring()
    assert stream.bells.take() == []
    # One of another process does not know.
    theirs = NotedBells(table)
    Marker(stream.segment, theirs).ring()
    assert theirs.take() == [SLOT]
