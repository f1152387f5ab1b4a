"""Several hubs of one process, which share its board; step by step in one thread."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from shmstream.memory.worker_table import WorkerTable
from shmstream.wakeups import shared_board as board_module
from shmstream.wakeups.hub_pace import QUIET_TICKS
from shmstream.wakeups.shared_board import Board
from tests.wakeups.scene import SLOT, Hub, Stream

Produce = Callable[[], Stream]


def test_the_hub_that_is_awake_collects_for_the_other(
    produce: Produce, board: Board
) -> None:
    """An event loop and a thread follow different streams."""
    one, two = Hub(board), Hub(board)
    stream, other = produce(), produce()
    mine, yours = one.join(stream.segment), two.join(other.segment)
    stream.write()
    board.collect_on_ring()
    one.turn()
    waiter = two.begin(yours)
    assert (one.awake, two.awake) == (True, False)
    assert other.write() == []
    one.tick()
    assert two.looks_asked_for == 1
    assert waiter.woken == 0
    two.turn()
    assert waiter.woken == 1
    # Now the other way round: the first naps while the second is awake.
    one.rest()
    assert (one.awake, two.awake) == (False, True)
    waiter = one.begin(mine)
    assert stream.write() == []
    two.tick()
    one.turn()
    assert waiter.woken == 1
    one.rest()
    two.rest()
    assert (one.awake, two.awake) == (False, False)
    assert (one.looks_asked_for, two.looks_asked_for) == (0, 0)
    assert (stream.write(), other.write()) == ([SLOT], [SLOT])


def test_what_another_hub_collects_just_before_a_nap_is_not_forgotten(
    produce: Produce, board: Board
) -> None:
    """It takes us to be awake, and looks_asked_for nobody; we were about to sleep."""
    one, two = Hub(board), Hub(board)
    stream, other = produce(), produce()
    watch = one.join(stream.segment)
    two.join(other.segment)
    for each in (stream, other):
        each.write()
    board.collect_on_ring()
    one.turn()
    two.turn()
    waiter = one.begin(watch)
    look = one._look

    def look_first() -> bool:
        found = look()
        # After the last look, before the nap.
        assert stream.write() == []
        board.collect()
        assert one.looks_asked_for == 0
        return found

    for _ in range(QUIET_TICKS - 1):
        one.tick()
    assert one.awake
    setattr(one, '_look', look_first)  # noqa: B010
    one.tick()
    assert not one.awake
    assert waiter.woken == 0
    assert one.looks_asked_for == 1
    one.turn()
    assert waiter.woken == 1


def test_two_hubs_on_one_stream_are_both_told(stream: Stream, board: Board) -> None:
    one, two = Hub(board), Hub(board)
    watches = one.join(stream.segment), two.join(stream.segment)
    assert watches[0] is not watches[1]
    waiters = one.begin(watches[0]), two.begin(watches[1])
    assert stream.write() == [SLOT]
    board.collect_on_ring()
    # The first goes round before the second has heard.
    one.turn()
    one.rest()
    one.tick()
    assert not one.awake
    assert [waiter.woken for waiter in waiters] == [1, 0]
    two.turn()
    assert [waiter.woken for waiter in waiters] == [1, 1]
    two.rest()
    one.leave(watches[0])
    waiter = two.begin(watches[1])
    assert stream.write() == [SLOT]
    board.collect_on_ring()
    two.turn()
    assert waiter.woken == 1
    assert one.looks_asked_for == 0


@pytest.mark.parametrize('alone', [True, False])
def test_a_hub_that_is_closed_while_awake_leaves_the_others_rung(
    produce: Produce, board: Board, table: WorkerTable, alone: bool
) -> None:
    """An event loop ends without a word; the doorbell thread finds out."""
    one, two = Hub(board), Hub(board)
    stream, other = produce(), produce()
    watch = one.join(stream.segment)
    one.join(stream.segment)
    waiter = two.begin(two.join(other.segment))
    stream.write()
    board.collect_on_ring()
    one.turn()
    if not alone:
        other.write()
        one.tick()
        two.turn()
        waiter = two.begin(two.join(other.segment))
    # This is what nobody collects any more.
    assert other.write() == []
    one.close()
    if not alone:
        two.tick()
    two.turn()
    assert waiter.woken == 1
    two.tick()
    two.rest()
    assert not two.awake
    assert other.write() == [SLOT]
    assert stream.write() == []
    assert watch.segment.places(bytes(stream.segment.view[512:1024]), table.epoch) == {}
    # Whoever lets go of it later does no harm.
    one.leave(watch)
    one.leave(watch)
    board.collect_on_ring()
    two.turn()


def test_a_hub_that_nobody_needs_any_more_sleeps_at_once(
    produce: Produce, board: Board
) -> None:
    """Its event loop may be about to end, and nobody would collect until that shows."""
    one, two = Hub(board), Hub(board)
    stream, other = produce(), produce()
    watches = [one.join(stream.segment) for _ in range(2)]
    waiter = two.begin(two.join(other.segment))
    stream.write()
    board.collect_on_ring()
    one.turn()
    one.leave(watches[0])
    assert one.awake
    one.leave(watches[1])
    assert not one.awake
    assert other.write() == [SLOT]
    board.collect_on_ring()
    two.turn()
    assert waiter.woken == 1
    # A tick that was under way already finds nothing to do.
    one.tick()
    assert not one.awake


def test_a_hub_that_is_awake_and_never_collects_is_not_waited_for(
    produce: Produce, board: Board, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its loop is blocked, or is run no more: the others of the process go on."""
    stuck, other = Hub(board), Hub(board)
    theirs, ours = produce(), produce()
    stuck.join(theirs.segment)
    watch = other.join(ours.segment)
    theirs.write()
    board.collect_on_ring()
    stuck.turn()
    assert stuck.awake
    waiter = other.begin(watch)
    assert ours.write() == []
    monkeypatch.setattr(board_module, 'STALE_S', 0.0)
    # The net.
    board.collect_on_ring()
    other.turn()
    assert waiter.woken == 1
    other.rest()
    # From now on whoever marks rings, also for what the stuck one has been told often.
    for _ in range(3):
        theirs.write()
        board.collect_on_ring()
    waiter = other.begin(watch)
    assert ours.write() == [SLOT]
    board.collect_on_ring()
    other.turn()
    assert waiter.woken == 1
    # It comes back, and is counted on again.
    monkeypatch.undo()
    stuck.tick()
    other.rest()
    assert ours.write() == []
