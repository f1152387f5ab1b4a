"""Workers that come, go and move: slots in other hands; step by step."""

from __future__ import annotations

from collections.abc import Callable

from shmstream.memory.segment import Segment
from shmstream.memory.worker_table import WorkerTable
from shmstream.wakeups.producer_side import ring_everybody
from shmstream.wakeups.shared_board import Board
from tests.wakeups.scene import (
    EPOCH,
    SLOT,
    Hub,
    NotedBells,
    Stream,
    entered,
    hire,
    nap,
)

Produce = Callable[[], Stream]


def test_a_dead_worker_s_place_is_not_its_successor_s(
    produce: Produce, table: WorkerTable
) -> None:
    """The same slot and the same place, in other hands: two words, not one."""
    stream, other = produce(), produce()
    dead = hire(table)
    entered(dead, stream)
    assert stream.write() == [SLOT]
    assert stream.write() == []
    # It dies, its nap spent, and somebody else has the slot.
    table.free(SLOT)
    board = hire(table, SLOT, EPOCH + (7 << 20))
    watcher = entered(board, other)
    # What the dead one left is no mark of another's: heard at most as a hint.
    stream.write()
    board.collect_on_ring()
    watcher.take()
    board.nap('a hub')
    assert other.write() == [SLOT]
    board.collect_on_ring()
    assert watcher.take() == 1
    board.leave(watcher)
    # Now the stream that the dead one followed, at the place that the dead one had.
    board.nap('a hub')
    before = nap(table)
    watcher = entered(board, stream)
    assert stream.segment.places(bytes(stream.segment.view[512:1024]), table.epoch) == {
        SLOT: 0
    }
    assert nap(table) == before
    assert stream.write() == [SLOT]
    board.collect_on_ring()
    assert watcher.take() == 1


def test_a_producer_that_learns_of_a_dead_worker_learns_of_its_successor(
    stream: Stream, table: WorkerTable, noted: NotedBells
) -> None:
    entered(hire(table), stream)
    table.free(SLOT)
    # It sees the dead one's word now, and skips it.
    assert stream.write() == []
    board = hire(table, SLOT, EPOCH + (7 << 20))
    assert stream.write() == []
    watcher = entered(board, stream)
    assert stream.write() == [SLOT]
    board.collect_on_ring()
    assert watcher.take() == 1


def test_a_process_with_another_slot_keeps_its_places(
    produce: Produce, board: Board, table: WorkerTable
) -> None:
    streams = [produce() for _ in range(3)]
    everyone = [entered(board, stream) for stream in streams]
    for stream in streams:
        assert stream.write() == [SLOT]
    table.free(SLOT)
    table.take(9, EPOCH + (1 << 30), 1)
    # Somebody was here before, and died awake; its marks are still there.
    table.words[table.place_at(9, 1)] = 12345
    board.move(table, 9, EPOCH + (1 << 30))
    # Whatever was marked on the old board may not have been seen.
    assert [watcher.take() for watcher in everyone] == [1, 1, 1]
    for at, stream in enumerate(streams):
        assert stream.write() == [9]
        board.collect()
        assert [watcher.take() for watcher in everyone] == [
            int(i == at) for i in range(3)
        ]
    board.leave(everyone[0])
    assert streams[0].write() == []
    board.collect_on_ring()
    assert entered(board, streams[0]).take() == 0
    assert streams[0].write() == [9]


def test_a_process_that_moves_while_awake_is_not_rung(
    stream: Stream, board: Board, table: WorkerTable
) -> None:
    watcher = entered(board, stream)
    board.stay_awake('hub')
    table.free(SLOT)
    table.take(9, EPOCH + (1 << 30), 1)
    board.move(table, 9, EPOCH + (1 << 30))
    assert watcher.take() == 1
    assert stream.write() == []
    board.collect()
    assert watcher.take() == 1
    board.nap('hub')
    assert stream.write() == [9]


def test_everybody_who_follows_is_rung_and_told_to_look(
    produce: Produce, table: WorkerTable, noted: NotedBells
) -> None:
    stream, other = produce(), produce()
    boards = [hire(table, slot, EPOCH + (slot << 40)) for slot in (0, 3, 63)]
    everyone = [entered(boards[0], stream), entered(boards[2], stream)]
    entered(boards[1], other)
    ring_everybody(stream.segment, noted)
    assert noted.take() == [0, 63]
    assert [table.looks(slot) for slot in (0, 3, 63)] == [1, 0, 1]
    boards[0].leave(everyone[0])
    ring_everybody(stream.segment, noted)
    assert noted.take() == [63]


def test_each_worker_is_marked_on_its_own_board(
    produce: Produce, table: WorkerTable, noted: NotedBells
) -> None:
    streams = [produce(), produce()]
    boards = [hire(table, slot, EPOCH + (slot << 40)) for slot in (0, 63)]
    # The other way round, so that one place is two streams' on two boards.
    one = [entered(boards[0], stream) for stream in streams]
    two = [entered(boards[1], stream) for stream in reversed(streams)]
    boards[0].stay_awake('hub')
    assert streams[0].write() == [63]
    for board in boards:
        board.collect()
    assert [watcher.take() for watcher in (*one, *two)] == [1, 0, 0, 1]


def test_a_process_that_moves_looks_at_all(
    stream: Stream, board: Board, table: WorkerTable
) -> None:
    hub = Hub(board)
    waiter = hub.begin(hub.join(stream.segment))
    # It is rung in its old slot, whose doorbell it no longer hears.
    assert stream.write() == [SLOT]
    table.free(SLOT)
    table.take(8, EPOCH + (1 << 30), 1)
    board.move(table, 8, EPOCH + (1 << 30))
    hub.turn()
    assert waiter.woken == 1


def test_a_slot_that_is_another_process_s_by_now_is_rung(
    segment: Segment, table: WorkerTable
) -> None:
    """A producer keeps the bells of the slot that its process had before."""
    board = hire(table)
    bells = NotedBells(table, (SLOT, EPOCH), board.mark_here)
    stream = Stream(segment, bells)
    watcher = entered(board, stream)
    assert (stream.write(), watcher.take()) == ([], 1)
    assert (stream.write(), watcher.take()) == ([], 1)
    successor = hire(table, SLOT, EPOCH + (1 << 40))
    board.leave(watcher)
    watcher = entered(successor, stream)
    assert (stream.write(), watcher.take()) == ([SLOT], 0)
    successor.collect_on_ring()
    assert watcher.take() == 1


def test_a_dead_worker_s_successor_is_not_rung_for_what_it_does_not_follow(
    stream: Stream, table: WorkerTable
) -> None:
    entered(hire(table), stream)
    assert stream.write() == [SLOT]
    # It dies; its word in the segment stays.
    successor = hire(table, SLOT, EPOCH + (1 << 40))
    assert stream.write() == []
    successor.collect_on_ring()
    assert stream.write() == []
    watcher = entered(successor, stream)
    assert stream.write() == [SLOT]
    successor.collect_on_ring()
    assert watcher.take() == 1
