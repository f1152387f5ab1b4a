"""What ``top`` knows at one moment, and what has happened since the moment before."""

from __future__ import annotations

import collections
import time
from collections import Counter
from dataclasses import dataclass, field, replace
from typing import Any

from shmstream.cli.outcome import Failure
from shmstream.cli.place import Place
from shmstream.cli.selecting import STATES
from shmstream.errors import ShmstreamError
from shmstream.memory.session_facts import SessionFacts
from shmstream.metrics.reading import Reading

_COUNTED = (
    ('bytes_in', 'bytes', 'in'),
    ('bytes_out', 'bytes', 'out'),
    ('rings', 'rings', None),
    ('naps', 'naps', None),
    ('appends', 'appends', None),
)
"""The rates of the totals: the name, the counter, and the value of its label."""

_LEAST_SPAN_S = 1.0


@dataclass(frozen=True)
class Frame:
    """One moment.

    Attributes:
        at: unix time in seconds.
        now_s: the monotonic clock, which nobody can set, in seconds.
        sessions: all sessions.
        reading: the numbers of the whole deployment; None if they cannot be had.
        heads: the bytes of each session, by owner and generation.
        rates: bytes per second of each session since the frame before.
        totals: rates of the whole deployment since then, per second.
        trouble: why the sessions are those of an earlier moment; empty: they are not.
    """

    at: float
    now_s: float
    sessions: list[SessionFacts]
    reading: Reading | None
    heads: dict[tuple[str, str], int]
    rates: dict[tuple[str, str], float] = field(default_factory=dict)
    totals: dict[str, float] = field(default_factory=dict)
    trouble: str = ''

    def rate(self, facts: SessionFacts) -> float:
        """Bytes per second that have entered a session since the frame before."""
        return self.rates.get(key_of(facts), 0.0)

    def states(self) -> dict[str, int]:
        """How many sessions are in each state."""
        counted = Counter(facts['state'] for facts in self.sessions)
        return {state: counted[state] for state in STATES}

    def as_json(self) -> dict[str, Any]:
        """All of it, for ``--json``."""
        reading = self.reading
        numbers: dict[str, Any] = {}
        if reading is not None:
            numbers = {
                'supervisor_up': reading.supervisor_up,
                'workers': [worker.pid for worker in reading.workers],
                'memory_used': reading.value('memory_bytes', 'used'),
                'memory_limit': reading.value('memory_bytes', 'limit'),
                'sessions_limit': reading.value('sessions_limit'),
                'followers': reading.value('followers'),
            }
        return {
            'at': self.at,
            'states': self.states(),
            'deployment': numbers,
            'rates': self.totals,
            'sessions': [
                {**facts, 'rate': self.rate(facts)} for facts in self.sessions
            ],
        }


def key_of(facts: SessionFacts) -> tuple[str, str]:
    """Return what names a session for good."""
    return facts['owner'], facts['generation']


class Looks:
    """Looks at a place again and again.

    Args:
        place: where.
    """

    def __init__(self, place: Place) -> None:
        self._place = place
        self._before: collections.deque[Frame] = collections.deque()

    def look(self) -> Frame:
        """Look now. The first frame has no rates. Raises as the place does."""
        sessions = self._place.sessions(lambda _: None)
        reading = self._reading()
        at, now_s = time.time(), time.monotonic()
        heads = {key_of(facts): facts['total_bytes'] for facts in sessions}
        frame = Frame(at, now_s, sessions, reading, heads)
        before = self._before
        # Rates are measured over a second at least, because the counters are published
        # a few times a second.
        while len(before) > 1 and before[1].now_s <= now_s - _LEAST_SPAN_S:
            before.popleft()
        if before:
            base = before[0]
            span_s = max(now_s - base.now_s, 0.001)
            rates = {
                key: (head - base.heads.get(key, head)) / span_s
                for key, head in heads.items()
            }
            totals = _totals(reading, base.reading, span_s)
            frame = replace(frame, rates=rates, totals=totals)
        before.append(frame)
        return frame

    def _reading(self) -> Reading | None:
        try:
            reading = self._place.reading()
        except (Failure, ShmstreamError, OSError):
            # They are gone once the deployment is, and its streams say so, too.
            return None
        # A service of another version may lack some of what is shown.
        return reading if reading.has_all() else None


def _totals(
    now: Reading | None, before: Reading | None, span_s: float
) -> dict[str, float]:
    # If the counters began anew in between, there is nothing to compare.
    if now is None or before is None or now.since != before.since:
        return {}
    return {
        name: max(now.value(metric, label) - before.value(metric, label), 0) / span_s
        for name, metric, label in _COUNTED
    }
