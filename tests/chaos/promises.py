"""How soon a stream has to end for whoever follows it, whatever faults met.

The README promises a second. What it takes longer is what it says there, and no more::

    a process on the way was stopped    as long as it was
    a worker and the supervisor died    a start of its successor
    and three others before it          what they are throttled by

That it could run and was not let is the machine's, and does not count: for a process of
the service the kernel says so, for this one its loop does.
"""

from __future__ import annotations

import collections
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

ENDED_S = 1.0
"""From the cause to the end."""

START_S = 1.0
"""As long as there is no supervisor: a successor starts."""

THROTTLED_S = 2.0
"""On top, if so many have died that not even the next one is started at once."""

SUPERVISORS = 0
"""Stands for whichever supervisor there is."""

_LOOK_S = 0.5

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


class Delays:
    """How long each process could have run and was not let, as the kernel counts it."""

    def __init__(self) -> None:
        self._seen: dict[tuple[int, int], collections.deque[tuple[float, float]]] = {}

    def look(self, name: int, pid: int, now: float) -> None:
        """Look at a process.

        Args:
            name: what it is called.
            pid: which it is.
            now: the time.
        """
        waited = 0.0
        for thread in Path(f'/proc/{pid}/task').glob('*/schedstat'):
            try:
                waited += int(thread.read_text().split()[1]) / 1e9
            except (OSError, IndexError):
                # It has gone, or the kernel does not count.
                continue
        seen = self._seen.get((name, pid))
        if seen is None:
            # It had not begun at the last look.
            seen = self._seen[name, pid] = collections.deque([(now, 0.0)], maxlen=2048)
        seen.append((now, waited))

    def within(self, names: Iterable[int | None], since: float, until: float) -> float:
        """Seconds of this span for which they were not let; None stands for all."""
        wanted = set(names)
        found = 0.0
        for (name, _), seen in self._seen.items():
            if name not in wanted and None not in wanted:
                continue
            # What is seen later may have been earlier, by a look at the most.
            around = [w for at, w in seen if since - _LOOK_S < at < until + _LOOK_S]
            found += sum(max(b - a, 0.0) for a, b in pairwise(around))
        return min(found, until - since)


@dataclass(frozen=True)
class Wait:
    """Somebody waited; whether for too long is judged when all is known about it.

    Attributes:
        what: for what.
        on_the_way: the processes that it had to go through.
        since: when its cause was.
        began: when it began to be silent.
        ended: when the end came.
        most: seconds that are promised.
        who: waited.
    """

    what: str
    on_the_way: tuple[int | None, ...]
    since: float
    began: float
    ended: float
    most: float
    who: str


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
