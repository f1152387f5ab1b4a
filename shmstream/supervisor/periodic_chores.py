"""What the supervisor does again and again, and how often."""

from __future__ import annotations

from collections.abc import Callable

from shmstream.metrics.counts import TELL_S
from shmstream.supervisor.registry import Registry
from shmstream.supervisor.timers import Timers
from shmstream.supervisor.workers import Workers

RECHECK_S = 1.0
"""Seconds between two checks of slots, of dead producers, and of streams to adopt."""

ROOM_S = 0.2
"""Seconds between measurements of the memory that is left."""


def start_chores(
    timers: Timers,
    workers: Workers,
    registry: Registry,
    finish_dead: Callable[[], object],
    collect_s: float,
) -> None:
    """Set a timer for each of the chores.

    Each chore runs at once for the first time: otherwise, if supervisors keep dying
    early, none of them would ever collect.

    Args:
        timers: the supervisor's timers.
        workers: the processes that are attached.
        registry: the sessions.
        finish_dead: ends the streams of producers that have died.
        collect_s: seconds between two collections of expired sessions.
    """
    timers.every('slots', RECHECK_S, workers.drop_absent)
    timers.every('dead producers', RECHECK_S, finish_dead)
    timers.every('left streams', RECHECK_S, registry.adopt_left)
    timers.every('room', ROOM_S, registry.look_at_room)
    timers.every('expiry', collect_s, registry.collect)
    timers.every('metrics', TELL_S, registry.publish)
