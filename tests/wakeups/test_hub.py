"""The follow hub and the producer's side of it, step by step in one thread."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from shmstream.memory.segment import Segment
from shmstream.ring.layout import W_ARMED, W_CANCELLED, W_EVICTED
from shmstream.ring.ring import RingWriter
from shmstream.ring.state import State
from shmstream.wakeups.bells import ArmedSlots
from shmstream.wakeups.hub import QUIET_TICKS, FollowHub, Watch
from tests.wakeups.conftest import NotedBells

SLOT = 5


class Waiter:
    """Counts."""

    def __init__(self) -> None:
        self.woken = 0

    def wake(self) -> None:
        self.woken += 1


class Stream:
    """Its producer, as far as wake-ups go."""

    def __init__(self, segment: Segment, bells: NotedBells) -> None:
        self.writer = RingWriter(segment.view)
        self.armed = ArmedSlots(segment, bells)
        self.bells = bells

    def write(self, chunk: bytes = b'x') -> list[int]:
        """Append, and return whom it rang."""
        self.writer.append(chunk)
        self.armed.ring(self.writer.head)
        return self.bells.take()


@pytest.fixture
def stream(segment: Segment, noted: NotedBells) -> Stream:
    return Stream(segment, noted)


@pytest.fixture
def hub() -> FollowHub:
    return FollowHub(SLOT)


def wait(hub: FollowHub, watch: Watch) -> Waiter:
    waiter = Waiter()
    hub.wait(watch, watch.reader.snapshot(), waiter)
    return waiter


def rest(hub: FollowHub) -> None:
    for _ in range(QUIET_TICKS):
        hub.tick()


def test_nobody_is_rung_while_nobody_sleeps(stream: Stream, hub: FollowHub) -> None:
    assert stream.write() == []


def test_a_sleeper_is_rung_once_and_for_the_next_arming_again(
    stream: Stream, hub: FollowHub, segment: Segment
) -> None:
    watch = hub.join(segment)
    for _ in range(3):
        waiter = wait(hub, watch)
        assert not hub.busy
        assert segment.words[W_ARMED + SLOT] == stream.writer.head + 1
        assert stream.write() == [SLOT]
        assert stream.write() == []
        assert waiter.woken == 0
        hub.look()
        assert waiter.woken == 1
        assert hub.busy
        assert stream.write() == []
        rest(hub)
        hub.tick()
        assert not hub.busy


def test_a_busy_hub_wakes_at_its_tick_and_rings_nobody(
    stream: Stream, hub: FollowHub, segment: Segment
) -> None:
    watch = hub.join(segment)
    first = wait(hub, watch)
    stream.write()
    hub.look()
    for _ in range(5):
        waiter = wait(hub, watch)
        hub.tick()
        assert waiter.woken == 0
        assert stream.write() == []
        hub.tick()
        assert waiter.woken == 1
    assert first.woken == 1


def test_what_stays_quiet_is_armed_again(
    stream: Stream, hub: FollowHub, segment: Segment
) -> None:
    watch = hub.join(segment)
    wait(hub, watch)
    stream.write()
    hub.look()
    waiter = wait(hub, watch)
    for _ in range(QUIET_TICKS - 1):
        hub.tick()
        assert hub.busy
    hub.tick()
    assert not hub.busy
    assert stream.write() == [SLOT]
    hub.look()
    assert waiter.woken == 1


def test_bytes_that_came_before_the_wait_end_it_at_once(
    stream: Stream, hub: FollowHub, segment: Segment
) -> None:
    watch = hub.join(segment)
    seen = watch.reader.snapshot()
    stream.write()
    waiter = Waiter()
    hub.wait(watch, seen, waiter)
    assert waiter.woken == 1


def test_bytes_that_come_while_it_arms_are_seen(
    stream: Stream, hub: FollowHub, segment: Segment
) -> None:
    # The producer looks at the armed words just before this hub's is there.
    watch = hub.join(segment)
    setattr(hub, '_fence', stream.write)  # noqa: B010
    waiter = wait(hub, watch)
    assert waiter.woken == 1


def test_a_post_that_crosses_with_an_arming_does_not_use_it_up(
    stream: Stream, hub: FollowHub, segment: Segment
) -> None:
    watch = hub.join(segment)
    wait(hub, watch)
    # The head is out, the ring is not: the hub sees it, comes to rest, and arms anew.
    stream.writer.append(b'x')
    hub.look()
    waiter = wait(hub, watch)
    rest(hub)
    assert segment.words[W_ARMED + SLOT] == 2
    stream.armed.ring(1)
    assert stream.bells.take() == []
    # It has seen those bytes, and must be rung for the next.
    assert stream.write() == [SLOT]
    hub.look()
    assert waiter.woken == 1


def test_two_hubs_of_one_process_do_not_disarm_each_other(
    stream: Stream, segment: Segment
) -> None:
    """An event loop and a thread follow one stream: they share the armed word.

    The second arms for what it has seen while the first has seen more already. Its late
    store must not take the word back to a number that has been rung for.
    """
    first, second = FollowHub(SLOT), FollowHub(SLOT)
    watch, other = first.join(segment), second.join(segment)
    wait(first, watch)
    arm = second._arm

    def late(armed: Watch) -> None:
        assert stream.write() == [SLOT]
        first.look()
        rest(first)
        sleeper = wait(first, watch)
        arm(armed)
        assert stream.write() == [SLOT], 'the first sleeps on bytes that are there'
        first.look()
        assert sleeper.woken == 1

    setattr(second, '_arm', late)  # noqa: B010
    wait(second, other)


@pytest.mark.parametrize(
    'change',
    [
        lambda stream, words: stream.writer.go_live(),
        lambda stream, words: stream.writer.finish(State.COMPLETE, 1),
        lambda stream, words: words.__setitem__(W_CANCELLED, 1),
        lambda stream, words: words.__setitem__(W_EVICTED, 1),
    ],
    ids=['live', 'final', 'cancelled', 'evicted'],
)
def test_every_change_that_is_told_to_all_wakes(
    stream: Stream,
    hub: FollowHub,
    segment: Segment,
    change: Callable[[Stream, memoryview], None],
) -> None:
    waiter = wait(hub, hub.join(segment))
    change(stream, segment.words)
    stream.armed.ring_everybody()
    assert stream.bells.take() == [SLOT]
    hub.look()
    assert waiter.woken == 1


def test_what_others_arm_wakes_nobody(hub: FollowHub, segment: Segment) -> None:
    waiter = wait(hub, hub.join(segment))
    segment.words[W_ARMED + SLOT + 1] = 1
    segment.count_followers(SLOT, 1 << 40, 1)
    hub.look()
    assert waiter.woken == 0


def test_who_no_longer_waits_is_not_woken(
    stream: Stream, hub: FollowHub, segment: Segment
) -> None:
    watch = hub.join(segment)
    gone, stays = wait(hub, watch), wait(hub, watch)
    hub.forget(watch, gone)
    stream.write()
    hub.look()
    assert (gone.woken, stays.woken) == (0, 1)


def test_waking_all_wakes_those_for_whom_nothing_has_changed(
    hub: FollowHub, segment: Segment
) -> None:
    waiter = wait(hub, hub.join(segment))
    hub.wake_all()
    hub.wake_all()
    assert waiter.woken == 1


def test_a_watch_goes_with_its_last_follower(
    stream: Stream, hub: FollowHub, segment: Segment
) -> None:
    first = hub.join(segment)
    assert hub.join(segment) is first
    wait(hub, first)
    hub.leave(first)
    assert hub.join(segment) is first
    stream.write()
    hub.look()
    assert hub.busy
    hub.leave(first)
    hub.leave(first)
    assert not hub.busy
    assert hub.join(segment) is not first


def test_followers_at_one_offset_share_the_bytes(
    stream: Stream, hub: FollowHub, segment: Segment
) -> None:
    watch = hub.join(segment)
    stream.write(b'abc')
    data = watch.read(0)
    assert data == b'abc'
    assert watch.read(0) is data
    assert watch.read(1) == b'bc'
    stream.write(b'def')
    assert watch.read(0) == b'abcdef'
    assert data == b'abc'
