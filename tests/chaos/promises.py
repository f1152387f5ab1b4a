"""How soon a stream has to end for whoever follows it, whatever faults met.

docs/guarantees.md promises a second. What it takes longer is what it says there::

    a process on the way was stopped    as long as it was (the supervisor's is the
                                        way of a killed producer's streams only)
    a worker and the supervisor died    a start of its successor
    and three others before it          what they are throttled by

That it could run and was not let is the machine's, and does not count: for a process of
the service the kernel says so, for this one its loop does.
"""

from __future__ import annotations

import collections
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

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
        """Seconds of this span in which any of them was; None stands for any worker."""
        wanted = set(pids)
        spans = sorted(
            (max(since, began), min(until, ended))
            for pid, began, ended in self._spans
            if _is_one_of(pid, wanted)
        )
        # Where two of them were stopped at once, that is once.
        seconds, reached = 0.0, since
        for began, ended in spans:
            seconds += max(ended - max(began, reached), 0.0)
            reached = max(reached, ended)
        return seconds


class Delays:
    """How long each process could have run and was not let, as the kernel counts it.

    Of its main thread, which is the one that serves. On a machine that is busy all
    processes wait all the time, and at the same time: what they waited in sum would
    excuse everything, so what counts is the longest that one of them did.
    """

    def __init__(self) -> None:
        self._total: dict[tuple[int, int], float] = {}
        self._spans: dict[int, collections.deque[tuple[float, float, float]]] = {}
        self._looked: dict[tuple[int, int], float] = {}

    def look(self, name: int, pid: int, now: float) -> None:
        """Look at a process.

        Args:
            name: what it is called.
            pid: which it is.
            now: the time.
        """
        try:
            waited = int(Path(f'/proc/{pid}/schedstat').read_text().split()[1]) / 1e9
        except (OSError, IndexError):
            # It has gone, or the kernel does not count.
            return
        self.saw(name, pid, now, waited)

    def saw(self, name: int, pid: int, now: float, waited: float) -> None:
        """It was not let for so long in all, until now."""
        more = waited - self._total.get((name, pid), 0.0)
        if more > 0:
            # What is seen later may have been earlier: it is counted once it is over.
            since = min(self._looked.get((name, pid), now), now - more)
            spans = self._spans.setdefault(name, collections.deque(maxlen=4096))
            spans.append((since, now, more))
        self._total[name, pid] = waited
        self._looked[name, pid] = now

    def within(self, names: Iterable[int | None], since: float, until: float) -> float:
        """Seconds of this span for which one of them was not let; the longest of all.

        None stands for any worker.
        """
        wanted = set(names)
        return max(
            (
                _falling_into(spans, since, until)
                for name, spans in self._spans.items()
                if _is_one_of(name, wanted)
            ),
            default=0.0,
        )


def _is_one_of(name: int, wanted: set[int | None]) -> bool:
    return name in wanted or (None in wanted and name != SUPERVISORS)


def _falling_into(
    spans: Iterable[tuple[float, float, float]], since: float, until: float
) -> float:
    """How much of what lies somewhere in each of these spans is in that one."""
    return sum(
        more * max(min(until, ended) - max(since, began), 0.0) / (ended - began)
        for began, ended, more in spans
    )


@dataclass(frozen=True)
class Wait:
    """Somebody waited; whether for too long is judged when all is known about it.

    Attributes:
        what: for what.
        on_the_way: the processes that it had to go through. The supervisor is one of
            them if it has to do something: to end what a killed producer has left. A
            stream's own end, or one that was stopped before, goes past it.
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
