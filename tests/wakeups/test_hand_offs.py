"""No wake-up is lost: two processes hand messages back and forth, in lock-step.

Every message must be noticed although the follower may be about to sleep. The safety
net is moved from 0.2 s to an hour: whoever needed it would never answer, and the rally
would never end. Which of the two is faster is up to the machine;
``test_handshake.py`` has them meet in all orders.
"""

from __future__ import annotations

import random
import signal
from pathlib import Path
from typing import Any

import pytest

from shmstream import Streams
from tests.support.child import Child
from tests.support.matrix import matrix
from tests.wakeups.actors import rally

PAUSES = [0.0, 0.0001, 0.0004, 0.001]
"""Shorter and longer than it takes to go to sleep at the pace below."""


NET_S = 3600.0
ROUNDS = 4000
SECONDS = 3.0
"""Then a rally ends, on a machine that is too busy for all rounds, if there have been
enough hand-offs and rings."""

LEAST, LEAST_RUNG = 2000, 40
PATIENCE_S = 60.0

STANDS_STILL_S = 3.0


def play(directory: Path, kind: str, **options: Any) -> list[Any]:
    """Have two processes play; returns what each has counted.

    The first message is sent once the other has gone to sleep: one is rung for.

    Raises:
        TimeoutError: the rally stands still, or is too slow.
    """
    seed = random.randrange(1 << 32)
    print(f'seed {seed}')
    common = {
        'kind': kind,
        'net_s': NET_S,
        'tick_s': 0.0001,
        'quiet_ticks': 2,
        'soon_s': 0.002,
        'pauses': PAUSES,
        'rounds': ROUNDS,
        'seconds': SECONDS,
        'least': LEAST,
        'least_rung': LEAST_RUNG,
        'without': '',
        'leads': False,
    } | options
    one = common | {'mine': 'ping', 'theirs': 'pong', 'seed': seed, 'leads': True}
    two = common | {'mine': 'pong', 'theirs': 'ping', 'seed': seed + 1}
    wait_s = PATIENCE_S if not common['without'] else STANDS_STILL_S
    with Child(rally, directory, one) as first, Child(rally, directory, two) as second:
        for child in (first, second):
            assert child.hear() == 'ready'
        second.say('go')
        assert second.hear() == 'naps'
        first.say('go')
        try:
            found = [child.hear_patiently(wait_s) for child in (first, second)]
        except TimeoutError:
            for child in (first, second):
                child.signal(signal.SIGKILL)
            first.kill()
            second.kill()
            raise
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
    leader, _ = play(directory, kind, **PACE[kind])
    assert leader['hand_offs'] >= LEAST
    assert leader['rung'] >= LEAST_RUNG


@pytest.mark.parametrize('kind', matrix(PACE, 'loop'))
def test_no_hand_off_to_who_naps_at_once_needs_the_safety_net(
    directory: Path, streams: Streams, kind: str
) -> None:
    """Most are rung for."""
    leader, _ = play(directory, kind, **PACE[kind] | {'soon_s': 0.0})
    assert leader['hand_offs'] >= LEAST
    assert leader['rung'] >= LEAST_RUNG


@pytest.mark.parametrize('without', ['ring', 'mark'])
@pytest.mark.parametrize('kind', PACE)
def test_without_ring_or_mark_hand_offs_do_need_the_safety_net(
    directory: Path, streams: Streams, kind: str, without: str
) -> None:
    """Who sleeps is never woken, so that the rally never ends."""
    options = PACE[kind] | {'without': without, 'seconds': NET_S}
    with pytest.raises(TimeoutError):
        play(directory, kind, **options)
