"""The follow hub, step by step in one thread; the board under it is real."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from shmstream import clock
from shmstream.memory.segment import Segment
from shmstream.memory.worker_table import WorkerTable
from shmstream.ring.layout import (
    W_CANCELLED,
    W_DROPPED,
    W_EVICTED,
    W_FOLLOWERS,
    W_PLACES,
)
from shmstream.ring.state import State
from shmstream.wakeups.hub_pace import QUIET_TICKS
from shmstream.wakeups.producer_side import ring_everybody
from shmstream.wakeups.shared_board import Board
from tests.wakeups.scene import SLOT, Hub, Stream, Waiter

Produce = Callable[[], Stream]


@pytest.fixture
def hub(board: Board) -> Hub:
    return Hub(board)


def test_a_sleeper_is_rung_once_and_for_the_next_nap_again(
    stream: Stream, hub: Hub, board: Board
) -> None:
    watch = hub.join(stream.segment)
    for _ in range(3):
        waiter = hub.begin(watch)
        assert not hub.awake
        assert stream.write() == [SLOT]
        assert stream.write() == []
        assert (waiter.woken, hub.looks_asked_for) == (0, 0)
        board.collect_on_ring()
        assert (waiter.woken, hub.looks_asked_for) == (0, 1)
        hub.turn()
        assert waiter.woken == 1
        assert hub.awake
        assert stream.write() == []
        hub.tick()
        hub.rest()
        assert not hub.awake
        assert hub.looks_asked_for == 0


def test_a_hub_that_is_awake_wakes_at_its_tick_and_rings_nobody(
    stream: Stream, hub: Hub, board: Board
) -> None:
    watch = hub.join(stream.segment)
    first = hub.begin(watch)
    stream.write()
    board.collect_on_ring()
    hub.turn()
    # Busy: a second look brings something as well.
    assert stream.write() == []
    hub.tick()
    for _ in range(3 * QUIET_TICKS):
        waiter = hub.begin(watch)
        hub.tick()
        assert waiter.woken == 0
        assert stream.write() == []
        hub.tick()
        assert waiter.woken == 1
    assert hub.awake
    assert hub.looks_asked_for == 0
    assert first.woken == 1


def test_what_comes_now_and_then_is_rung_for_each_time(
    stream: Stream, hub: Hub, board: Board
) -> None:
    watch = hub.join(stream.segment)
    for _ in range(3):
        waiter = hub.begin(watch)
        assert stream.write() == [SLOT]
        board.collect_on_ring()
        hub.turn(busy=False)
        assert waiter.woken == 1
        assert not hub.awake
    # What is rung for twice within a short time is ticked for ...
    assert stream.write() == [SLOT]
    board.collect_on_ring()
    hub.turn()
    assert hub.awake
    # ... until some ticks have brought nothing.
    assert stream.write() == []
    hub.tick()
    for _ in range(QUIET_TICKS):
        assert hub.awake
        hub.tick()
    assert not hub.awake


def test_what_comes_while_it_looks_and_naps_again_is_looked_at(
    stream: Stream, hub: Hub, board: Board
) -> None:
    watch = hub.join(stream.segment)
    waiter = hub.begin(watch)
    look = hub._look

    def write_after() -> bool:
        found = look()
        hub.wait(watch, watch.last, waiter)
        # Watcher of, and not yet asleep again: nobody rings.
        assert stream.write() == []
        return found

    setattr(hub, '_look', write_after)  # noqa: B010
    assert stream.write() == [SLOT]
    board.collect_on_ring()
    hub.turn(busy=False)
    setattr(hub, '_look', look)  # noqa: B010
    assert (waiter.woken, hub.looks_asked_for, hub.awake) == (1, 1, False)
    hub.turn(busy=False)
    assert waiter.woken == 2
    assert stream.write() == [SLOT]


@pytest.mark.parametrize('eager', [False, True])
def test_a_producer_of_this_process_tells_and_rings_nobody(
    produce_here: Produce, stream: Stream, board: Board, eager: bool
) -> None:
    hub = Hub(board, eager)
    here = produce_here()
    watch, other = hub.join(here.segment), hub.join(stream.segment)
    waiter = hub.begin(watch)
    assert here.write() == []
    assert hub.looks_asked_for == 1
    # It needs no ticks, and others have to ring as before.
    hub.turn()
    assert (waiter.woken, hub.awake) == (1, False)
    hub.begin(other)
    assert stream.write() == [SLOT]
    board.collect_on_ring()
    hub.turn()
    assert hub.awake
    # Awake it looks at its tick; before that if it is not dear to do.
    waiter = hub.begin(watch)
    assert here.write() == []
    assert hub.looks_asked_for == eager
    hub.turn()
    assert waiter.woken == eager
    hub.tick()
    assert waiter.woken == 1


def test_a_ring_that_comes_while_it_looks_at_its_own_is_not_forgotten(
    produce_here: Produce, stream: Stream, hub: Hub, board: Board
) -> None:
    """It has found that nobody was rung for; then its look takes what was rung for."""
    here = produce_here()
    hub.join(here.segment)
    watch = hub.join(stream.segment)
    waiter = hub.begin(watch)
    look = hub._look

    def ring_first() -> bool:
        assert stream.write() == [SLOT]
        board.collect_on_ring()
        return look()

    setattr(hub, '_look', ring_first)  # noqa: B010
    here.write()
    hub.turn()
    setattr(hub, '_look', look)  # noqa: B010
    assert waiter.woken == 1
    # What it was to look at has been seen.
    hub.turn()
    assert not hub.awake
    assert stream.write() == [SLOT]


def test_only_what_is_marked_is_looked_at(
    produce: Produce, hub: Hub, board: Board
) -> None:
    streams = [produce() for _ in range(50)]
    watches = [hub.join(stream.segment) for stream in streams]
    looked: list[int] = []

    def note(at: int) -> None:
        snapshot = watches[at].reader.snapshot

        def noted() -> bytes:
            looked.append(at)
            return snapshot()

        setattr(watches[at].reader, 'snapshot', noted)  # noqa: B010

    for at in range(50):
        note(at)
    streams[33].write()
    board.collect_on_ring()
    hub.turn()
    for at in (2, 49):
        streams[at].write()
    hub.tick()
    hub.rest()
    assert looked == [33, 2, 49]
    hub.look_at_all()
    assert looked[3:] == list(range(50))


def test_bytes_that_came_before_the_wait_end_it_at_once(
    stream: Stream, hub: Hub
) -> None:
    watch = hub.join(stream.segment)
    seen = watch.reader.snapshot()
    stream.write()
    waiter = Waiter()
    hub.wait(watch, seen, waiter)
    assert waiter.woken == 1


def test_what_a_hub_has_seen_itself_wakes_all_who_wait(
    stream: Stream, hub: Hub, board: Board
) -> None:
    """One begins to wait, sees bytes on the way, and the mark is no news any more."""
    watch = hub.join(stream.segment)
    sleeper = hub.begin(watch)
    stream.write()
    late = hub.begin(watch)
    assert (sleeper.woken, late.woken) == (1, 0)
    board.collect_on_ring()
    hub.turn()
    assert late.woken == 0
    # Watcher of something, it is awake, whether or not that was new.
    assert hub.awake
    hub.rest()
    assert not hub.awake
    assert stream.write() == [SLOT]
    board.collect_on_ring()
    hub.turn()
    assert late.woken == 1


def test_a_mark_between_the_last_look_and_the_nap_is_looked_at(
    stream: Stream, hub: Hub, board: Board
) -> None:
    watch = hub.join(stream.segment)
    stream.write()
    board.collect_on_ring()
    hub.turn()
    waiter = hub.begin(watch)
    nap = board.nap

    def write_first(napper: object) -> None:
        # It is awake, as far as this producer sees.
        assert stream.write() == []
        nap(napper)

    setattr(board, 'nap', write_first)  # noqa: B010
    hub.rest()
    assert not hub.awake
    assert waiter.woken == 0
    assert hub.looks_asked_for
    hub.turn()
    assert waiter.woken == 1
    # Its number stands: nobody was rung for, and the next one is.
    assert not hub.awake
    assert stream.write() == [SLOT]


def test_a_segment_that_is_joined_asleep_wakes(
    produce: Produce, hub: Hub, board: Board
) -> None:
    streams = [produce() for _ in range(3)]
    for stream in streams:
        stream.write()
        waiter = hub.begin(hub.join(stream.segment))
        assert not hub.awake
        assert stream.write() == [SLOT]
        board.collect_on_ring()
        hub.turn()
        assert waiter.woken == 1
        hub.rest()
        assert not hub.awake


@pytest.mark.parametrize(
    'change',
    [
        lambda stream, words: stream.writer.go_live(),
        lambda stream, words: stream.writer.finish(State.COMPLETE, clock.moment()),
    ],
    ids=['live', 'final'],
)
def test_a_change_of_state_wakes(
    stream: Stream,
    hub: Hub,
    board: Board,
    change: Callable[[Stream, memoryview], None],
) -> None:
    waiter = hub.begin(hub.join(stream.segment))
    change(stream, stream.segment.words)
    stream.marker.mark_state(stream.writer.state)
    assert stream.bells.take() == [SLOT]
    board.collect_on_ring()
    hub.turn()
    assert waiter.woken == 1


@pytest.mark.parametrize('word', [W_CANCELLED, W_EVICTED])
def test_what_the_supervisor_changes_is_seen_by_whoever_looks_at_all(
    stream: Stream, hub: Hub, table: WorkerTable, word: int
) -> None:
    waiter = hub.begin(hub.join(stream.segment))
    stream.segment.words[word] = 1
    ring_everybody(stream.segment, stream.bells)
    assert stream.bells.take() == [SLOT]
    assert table.looks(SLOT) == 1
    hub.look_at_all()
    assert waiter.woken == 1


def test_what_readers_write_wakes_nobody(hub: Hub, segment: Segment) -> None:
    waiter = hub.begin(hub.join(segment))
    segment.words[W_PLACES + SLOT + 1] = 1
    segment.words[W_FOLLOWERS] = 1
    segment.followers.add(SLOT, 1 << 40, 1)
    hub.look_at_all()
    assert waiter.woken == 0


def test_who_no_longer_waits_is_not_woken(
    stream: Stream, hub: Hub, board: Board
) -> None:
    watch = hub.join(stream.segment)
    gone, stays = hub.begin(watch), hub.begin(watch)
    hub.forget(watch, gone)
    stream.write()
    board.collect_on_ring()
    hub.turn()
    assert (gone.woken, stays.woken) == (0, 1)


def test_waking_all_wakes_those_for_whom_nothing_has_changed(
    hub: Hub, segment: Segment
) -> None:
    waiter = hub.begin(hub.join(segment))
    hub.wake_all()
    hub.wake_all()
    assert waiter.woken == 1


def test_a_watch_goes_with_its_last_follower(
    stream: Stream, hub: Hub, board: Board, table: WorkerTable
) -> None:
    segment = stream.segment
    first = hub.join(segment)
    assert hub.join(segment) is first
    hub.leave(first)
    assert hub.join(segment) is first
    assert stream.write() == [SLOT]
    board.collect_on_ring()
    hub.leave(first)
    # It is told of what nobody follows any more, and comes to rest.
    hub.leave(first)
    hub.turn()
    hub.rest()
    assert not hub.awake
    assert stream.write() == []
    second = hub.join(segment)
    assert second is not first
    waiter = hub.begin(second)
    assert stream.write() == [SLOT]
    board.collect_on_ring()
    hub.turn()
    assert waiter.woken == 1


def test_followers_at_one_offset_share_the_bytes(
    stream: Stream, hub: Hub, board: Board
) -> None:
    watch = hub.join(stream.segment)
    stream.write(b'abc')
    board.collect_on_ring()
    hub.turn()
    assert watch.read(0) is not watch.read(0), 'one alone keeps nothing'
    hub.join(stream.segment)
    data = watch.read(0)
    assert data == b'abc'
    assert watch.read(1) == b'bc'
    assert watch.read(0) == data
    assert watch.read(0) is watch.read(0)
    stream.write(b'def')
    hub.tick()
    assert watch.read(0) == b'abcdef'
    assert data == b'abc'


def test_a_look_between_the_dropped_prefix_and_the_head_hands_over_nothing(
    stream: Stream, hub: Hub, board: Board
) -> None:
    """A full ring's producer stores one word, copies, and stores the other."""
    watch = hub.join(stream.segment)
    taken: list[tuple[int, bytes]] = []

    class Taking:
        def take(self, at: int, data: bytes) -> None:
            taken.append((at, data))

        def wake(self) -> None:
            raise AssertionError

    assert hub.take(watch, watch.reader.snapshot(), Taking())
    stream.segment.words[W_DROPPED] = 1
    hub.look_at_all()
    assert taken == []
    stream.segment.words[W_DROPPED] = 0
    stream.write(b'abc')
    board.collect_on_ring()
    hub.turn()
    assert taken == [(0, b'abc')]


def test_a_tick_left_over_takes_nothing_from_a_look(
    stream: Stream, hub: Hub, board: Board
) -> None:
    """The timer of a hub that has slept since: the look must find what it is for."""
    waiter = hub.begin(hub.join(stream.segment))
    assert stream.write() == [SLOT]
    board.collect_on_ring()
    hub.tick()
    assert waiter.woken == 0
    hub.turn()
    assert waiter.woken == 1
    assert hub.awake


def test_a_hub_that_has_been_told_and_goes_leaves_the_others_rung(
    produce: Callable[[], Stream], board: Board
) -> None:
    """Its loop may end before it looks; nobody is awake then."""
    one, two = Hub(board), Hub(board)
    stream, other = produce(), produce()
    watch = one.join(stream.segment)
    two.join(other.segment)
    stream.write()
    board.collect_on_ring()
    assert one.looks_asked_for == 1
    one.leave(watch)
    assert other.write() == [SLOT]
    # The look that comes after all wakes nobody.
    one.turn()
    assert not one.awake
