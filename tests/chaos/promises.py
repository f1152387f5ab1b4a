"""How soon a stream has to end for whoever follows it, whatever faults met.

The README promises a second. What it takes longer is what it says there, and no more::

    a process on the way was stopped    as long as it was
    a worker and the supervisor died    a start of its successor
    and three others before it          what they are throttled by

What this process was late itself is the machine's, and does not count.
"""

from __future__ import annotations

import collections
from collections.abc import Iterable
from dataclasses import dataclass, field

ENDED_S = 1.0
"""From the cause to the end."""

START_S = 1.0
"""As long as there is no supervisor: a successor starts."""

THROTTLED_S = 2.0
"""On top, if so many have died that not even the next one is started at once."""

SUPERVISORS = 0
"""Stands for whichever supervisor there is."""

_AT_ONCE = 3
_RESTLESS_S = 10.0


@dataclass
class Machine:
    """What the machine, and we on it, were late by."""

    _late: collections.deque[tuple[float, float]] = field(
        default_factory=lambda: collections.deque(maxlen=4096)
    )

    def was_late(self, at: float, seconds: float) -> None:
        """A look that was due before came so late."""
        if seconds > 0:
            self._late.append((at, seconds))

    def given(self, since: float, until: float) -> float:
        """Seconds of this span that were there to be used."""
        late = sum(
            min(seconds, at - since, until - (at - seconds))
            for at, seconds in self._late
            if at > since and at - seconds < until
        )
        return max(until - since - late, 0.0)


@dataclass
class Stops:
    """Which processes were stopped, and when."""

    _spans: list[tuple[int, float, float]] = field(default_factory=list)

    def stopped(self, pid: int, since: float, until: float) -> None:
        """It was, or will be."""
        self._spans.append((pid, since, until))

    def within(self, pids: Iterable[int | None], since: float, until: float) -> float:
        """Seconds of this span in which any of them was; None stands for all.

        One after another, each may have held up what came by.
        """
        wanted = set(pids)
        return sum(
            max(min(until, ended) - max(since, began), 0.0)
            for pid, began, ended in self._spans
            if pid in wanted or None in wanted
        )


def bound(killed: bool, deaths: Iterable[float], since: float, now: float) -> float:
    """Seconds that the end may take.

    Args:
        killed: the stream's producer was; else it ended, or was stopped, by itself.
        deaths: when supervisors were killed.
        since: when the cause was.
        now: when the end came.
    """
    seconds = ENDED_S
    # A successor that has not come yet is waited for as well.
    around = [at for at in deaths if since - START_S - THROTTLED_S <= at <= now]
    if killed and around:
        seconds += START_S * len(around)
        recent = [at for at in deaths if now - _RESTLESS_S - seconds <= at <= now]
        if len(recent) >= _AT_ONCE:
            seconds += THROTTLED_S
    return seconds
