"""The store-buffering litmus: in all orders there are, and between two processes.

::

    side 0              side 1               allowed: either sees the other, or both do
    store x = round     store y = round      FORBIDDEN: neither does
    full fence          full fence
    load y              load x

"Neither" is a lost wake-up: the producer saw nobody nap, the follower no mark. Whether
a processor ever shows it without the fence is a matter of luck; that x86 allows it is
not, and ``wakeups/test_handshake.py`` holds the real code against that.
"""

from __future__ import annotations

from tests.ring.actors import store_buffering
from tests.ring.conftest import MakeSegment
from tests.ring.tso import Step, outcomes
from tests.support.child import Child

LEAST = 1000
"""Rounds. Each is two turns of either process, even where there is one processor."""

SECONDS = 4.0
"""How long it goes on, if there have been enough rounds by then."""

WAIT_S = 40.0

FENCE: Step = ('fence', '')


def side(mine: str, other: str, fenced: bool) -> list[Step]:
    """One side of the litmus."""
    fence = [FENCE] if fenced else []
    return [('store', mine), *fence, ('load', other)]


def test_with_both_fences_one_of_two_always_sees_the_other() -> None:
    assert outcomes(side('x', 'y', True), side('y', 'x', True)) == {
        (frozenset(), frozenset('x')),
        (frozenset('y'), frozenset()),
        (frozenset('y'), frozenset('x')),
    }


def test_without_the_fence_both_miss_each_other() -> None:
    """One that is missing is enough."""
    neither = (frozenset[str](), frozenset[str]())
    for fenced in ((False, False), (False, True), (True, False)):
        one, two = side('x', 'y', fenced[0]), side('y', 'x', fenced[1])
        assert neither in outcomes(one, two)


def test_stores_of_one_side_are_seen_in_their_order() -> None:
    """What the ring relies on, without a fence: the model must not forbid less."""
    writer: list[Step] = [('store', 'dropped'), ('store', 'data')]
    reader: list[Step] = [('load', 'data'), ('load', 'dropped')]
    seen = {second for _, second in outcomes(writer, reader)}
    assert seen == {frozenset(), frozenset({'dropped'}), frozenset({'dropped', 'data'})}


def litmus(make_segment: MakeSegment, how: str) -> tuple[int, int]:
    """Return rounds, and those in which both sides missed each other."""
    path, _ = make_segment(4096)
    with (
        Child(store_buffering, path, 0, how, SECONDS, LEAST) as one,
        Child(store_buffering, path, 1, how, SECONDS, LEAST) as two,
    ):
        assert one.hear() == two.hear() == 'ready'
        assert one.hear_patiently(WAIT_S) == two.hear() == 'done'
    missed = [path.with_name(f'{path.name}.{side}').read_bytes() for side in range(2)]
    rounds = min(map(len, missed))
    assert max(map(len, missed)) <= rounds + 1
    first, second = (int.from_bytes(side[:rounds], 'little') for side in missed)
    either, both = (first | second).bit_count(), (first & second).bit_count()
    print(f'{rounds} rounds, one missed in {either}, both in {both}')
    assert rounds >= LEAST
    return rounds, both


def test_no_two_processes_with_the_fence_miss_each_other(
    make_segment: MakeSegment,
) -> None:
    _, both = litmus(make_segment, 'fenced')
    assert both == 0


def test_two_that_store_nothing_do_miss_each_other(make_segment: MakeSegment) -> None:
    """The count counts: it would have been seen above."""
    rounds, both = litmus(make_segment, 'mute')
    assert both == rounds
