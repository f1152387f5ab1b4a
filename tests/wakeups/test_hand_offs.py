"""No wake-up is lost: two processes hand messages back and forth, in lock-step.

Every message must be noticed although the follower may be about to sleep. The safety
net is moved from 0.2 s to 5 s, so that whoever needs it shows.
"""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest

from shmstream import Streams
from tests.support.child import Child
from tests.wakeups.actors import rally

PAUSES = [0.0, 0.0001, 0.0004, 0.001]
"""Shorter and longer than it takes to go to sleep at the pace below."""


def play(directory: Path, kind: str, **options: Any) -> list[Any]:
    """Have two processes play; returns what each has counted."""
    seed = random.randrange(1 << 32)
    print(f'seed {seed}')
    common = {
        'kind': kind,
        'net_s': 5.0,
        'tick_s': 0.0001,
        'quiet_ticks': 2,
        'soon_s': 0.002,
        'pauses': PAUSES,
        'rounds': 10_500,
        'seconds': 40.0,
        'without': '',
        'leads': False,
    } | options
    one = common | {'mine': 'ping', 'theirs': 'pong', 'seed': seed, 'leads': True}
    two = common | {'mine': 'pong', 'theirs': 'ping', 'seed': seed + 1}
    with Child(rally, directory, one) as first, Child(rally, directory, two) as second:
        for child in (first, second):
            assert child.hear() == 'ready'
        for child in (second, first):
            child.say('go')
        found = [first.hear(), second.hear()]
    print(found)
    return found


PACE: dict[str, dict[str, Any]] = {
    # A loop looks at each turn, and sleeps after 16 that bring nothing.
    'loop': {'tick_s': 0.0, 'quiet_ticks': 16},
    'deliver': {'tick_s': 0.0, 'quiet_ticks': 16},
    'threads': {'tick_s': 0.0001, 'quiet_ticks': 2},
}


@pytest.mark.parametrize('kind', PACE)
def test_no_hand_off_needs_the_safety_net(
    directory: Path, streams: Streams, kind: str
) -> None:
    for found in play(directory, kind, **PACE[kind]):
        assert found['hand_offs'] > 20_000
        assert found['over_1_s'] == 0
        # It went to sleep, and it did not always.
        assert 500 < found['napped'] < found['hand_offs'] / 2 - 500
        assert found['rung'] > 500


@pytest.mark.parametrize('kind', PACE)
def test_no_hand_off_to_who_naps_at_once_needs_the_safety_net(
    directory: Path, streams: Streams, kind: str
) -> None:
    """Each is rung for."""
    for found in play(directory, kind, **PACE[kind] | {'soon_s': 0.0}):
        assert found['hand_offs'] > 5_000
        assert found['over_1_s'] == 0
        assert found['napped'] >= found['hand_offs'] / 3
        assert found['rung'] >= found['hand_offs'] / 3


@pytest.mark.parametrize('without', ['ring', 'mark'])
@pytest.mark.parametrize('kind', PACE)
def test_without_ring_or_mark_hand_offs_do_need_the_safety_net(
    directory: Path, streams: Streams, kind: str, without: str
) -> None:
    options = PACE[kind] | {'without': without, 'net_s': 1.2, 'seconds': 1.5}
    first, second = play(directory, kind, **options)
    assert first['over_1_s'] + second['over_1_s'] > 0
