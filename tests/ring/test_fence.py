"""The store-buffering litmus, between two processes.

::

    side 0              side 1               allowed: either sees the other, or both do
    store x = round     store y = round      FORBIDDEN: neither does
    full fence          full fence
    load y              load x

"Neither" is a lost wake-up: the producer saw nobody nap, the follower no mark.
"""

from __future__ import annotations

import os

import pytest

from tests.ring.actors import store_buffering
from tests.ring.conftest import MakeSegment
from tests.support.child import Child


def litmus(
    make_segment: MakeSegment, fenced: bool, seconds: float
) -> tuple[int, int, int]:
    """Return rounds, rounds in which one side missed the other, and forbidden ones."""
    path, _ = make_segment(4096)
    with (
        Child(store_buffering, path, 0, fenced, seconds) as one,
        Child(store_buffering, path, 1, fenced, seconds) as two,
    ):
        assert one.hear() == two.hear() == 'ready'
        assert one.hear() == two.hear() == 'done'
    missed = [path.with_name(f'{path.name}.{side}').read_bytes() for side in range(2)]
    rounds = min(map(len, missed))
    assert max(map(len, missed)) <= rounds + 1
    first, second = (int.from_bytes(side[:rounds], 'little') for side in missed)
    either, both = (first | second).bit_count(), (first & second).bit_count()
    print(f'{rounds} rounds, one missed in {either}, both in {both}')
    return rounds, either, both


def test_with_the_fence_one_of_two_always_sees_the_other(
    make_segment: MakeSegment,
) -> None:
    rounds, either, both = litmus(make_segment, fenced=True, seconds=4.5)
    assert rounds > 10_000
    # The two did meet: else the test would show nothing.
    assert either > 1000
    assert both == 0


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason='one processor')
def test_without_the_fence_both_miss_each_other(make_segment: MakeSegment) -> None:
    # 687 times in 1.1 million rounds on the machine that this was written on.
    # A busy machine seldom runs both at the very same time.
    for _ in range(80):
        _, _, both = litmus(make_segment, fenced=False, seconds=0.7)
        if both:
            return
    pytest.fail('the litmus does not bite')
