"""Every metric: its name, its labels, and the words that count it.

A block of words belongs to one process. Counters come first, then gauges::

    word 0 ...          counters: only grow. When a process leaves, they are added to
                        those of all who have left (``departed``)
    word GAUGES ...     gauges: what is so at this moment. When a process leaves, its
                        gauges go with it

A metric with a label has one word for each value of the label, and these values are all
there are. A histogram has one word for each bucket, and one for the sum in nanoseconds.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from typing import Final, Literal

Kind = Literal['counter', 'gauge', 'histogram']

BLOCK_WORDS: Final = 192
"""Words of one block; some are left for further metrics."""

STATES: Final = ('pending', 'live', 'complete', 'cancelled', 'aborted')
"""The states of a session, as ``ring.state`` numbers them."""

TRANSPORTS: Final = ('library', 'raw', 'events', 'chat', 'responses', 'post', 'waiting')
"""How a follower's bytes leave: to the application itself, by a route, as the answer to
the POST that has made the stream; a waiting one waits for the stream to begin."""


@dataclass(frozen=True)
class Metric:
    """One metric.

    Attributes:
        name: its name without prefix and suffix.
        kind: counter, gauge or histogram.
        text: what it counts, one line.
        at: the index of its first word in a block.
        unit: ``'bytes'``, ``'seconds'`` or nothing; the name ends with it.
        label: the name of its label; empty: it has none.
        values: all values of the label.
        bounds: the upper bounds of a histogram's buckets, in seconds.
        bounds_ns: the same in nanoseconds.
    """

    name: str
    kind: Kind
    text: str
    at: int
    unit: str = ''
    label: str = ''
    values: tuple[str, ...] = ('',)
    bounds: tuple[float, ...] = ()
    bounds_ns: tuple[int, ...] = ()

    def of(self, value: str) -> int:
        """Return the index of the word for one value of the label."""
        return self.at + self.values.index(value)

    @property
    def words(self) -> int:
        """The number of its words."""
        return len(self.bounds) + 2 if self.bounds else len(self.values)

    @property
    def full_name(self) -> str:
        """The name with prefix, as Prometheus knows the family."""
        return f'shmstream_{self.name}'


_metrics: list[Metric] = []


def _add(kind: Kind, name: str, text: str, **more: object) -> Metric:
    before = _metrics[-1] if _metrics else None
    at = before.at + before.words if before is not None else 0
    metric = Metric(name, kind, text, at, **more)  # type: ignore[arg-type]
    _metrics.append(metric)
    return metric


def _labelled(kind: Kind, name: str, text: str, label: str, *values: str) -> Metric:
    return _add(kind, name, text, label=label, values=values)


def _histogram(name: str, text: str, *bounds: float) -> Metric:
    in_ns = tuple(round(bound * 1e9) for bound in bounds)
    return _add('histogram', name, text, unit='seconds', bounds=bounds, bounds_ns=in_ns)


# -- counters ------------------------------------------------------------------------

STARTED: Final = _add('counter', 'sessions_started', 'Sessions that have been made.')
ENDED: Final = _labelled(
    *('counter', 'sessions_ended', 'Sessions whose streams have ended, by the state.'),
    *('state', *STATES[2:]),
)
EVICTIONS: Final = _labelled(
    *('counter', 'evictions', 'Sessions that have been removed, by the cause.'),
    *('cause', 'asked', 'expired', 'room', 'replaced', 'not_begun'),
)
APPENDS: Final = _add('counter', 'appends', 'Chunks that producers have appended.')
BYTES: Final = _add(
    *('counter', 'bytes', 'Bytes that entered streams, and that readers have got.'),
    unit='bytes',
    label='direction',
    values=('in', 'out'),
)
DELIVERIES: Final = _add(
    'counter', 'deliveries', 'Pieces of live streams that followers have got.'
)
RESUMES: Final = _labelled(
    *('counter', 'resumes', 'Requests to go on with a stream, by what they got.'),
    *('result', 'ok', 'lost', 'replaced', 'unknown'),
)
LOST: Final = _add(
    'counter', 'lost_offsets', 'Followers that a ring has overtaken while they read.'
)
REFUSALS: Final = _labelled(
    *('counter', 'refusals', 'Requests that have been refused, by the cause.'),
    *('cause', 'sessions', 'memory', 'owner', 'processes', 'no_supervisor'),
    *('leaving', 'not_begun', 'key', 'origin', 'host', 'too_large', 'slow', 'uploads'),
    'system',
)
UPSTREAM: Final = _labelled(
    *('counter', 'upstream_requests', 'Requests to the upstream, by the answer.'),
    *('code', '1xx', '2xx', '3xx', '4xx', '5xx', 'unreachable', 'timeout', 'left'),
)
RINGS: Final = _add('counter', 'rings', 'System calls by which processes are woken.')
NAPS: Final = _add('counter', 'naps', 'Times that a process has begun to nap.')
RESTARTS: Final = _add(
    'counter', 'supervisor_restarts', 'Supervisors that have taken over from another.'
)
WAKE: Final = _histogram(
    'wake_seconds',
    'From the ring of an event loop that naps until it looks.',
    *(5e-05, 0.0001, 0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.05, 0.2, 1.0),
)
FIRST_BYTE: Final = _histogram(
    'time_to_first_byte_seconds',
    'From the request for a stream until its first bytes are there.',
    *(0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0),
)

GAUGES: Final = _metrics[-1].at + _metrics[-1].words
"""The index of the first gauge."""

# -- gauges of workers ---------------------------------------------------------------

FOLLOWERS: Final = _labelled(
    *('gauge', 'followers', 'Followers, by how their bytes leave.'),
    *('transport', *TRANSPORTS),
)
PRODUCERS: Final = _add('gauge', 'producers', 'Streams that are being written.')
DRAINING: Final = _add(
    'gauge', 'draining_workers', 'Workers that have been told to leave.'
)

# -- gauges of the supervisor --------------------------------------------------------

SESSIONS: Final = _labelled(
    *('gauge', 'sessions', 'Sessions that can be found, by state.'),
    *('state', *STATES),
)
SESSIONS_LIMIT: Final = _add('gauge', 'sessions_limit', 'The most sessions.')
MEMORY: Final = _add(
    *('gauge', 'memory_bytes', 'Memory of streams: used, of it pinned, and the limit.'),
    unit='bytes',
    label='kind',
    values=('used', 'pinned', 'limit'),
)

METRICS: Final = tuple(_metrics)
"""All metrics that have words, in the order of their words."""

WORDS: Final = _metrics[-1].at + _metrics[-1].words
assert WORDS <= BLOCK_WORDS

CATALOGUE: Final = zlib.crc32(
    repr([(m.name, m.at, m.label, m.values, m.bounds) for m in METRICS]).encode()
)
"""Another number for every other catalogue: processes whose catalogues differ must not
count in one file."""
