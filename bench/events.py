"""The events of all workloads: 200 bytes that hold their number and when they began.

The layout is described in load/load.c, which checks every byte.
"""

from __future__ import annotations

import time
from collections.abc import Callable

EVENT_BYTES = 200

_ALPHABET = b'abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_'
_PADS = [(_ALPHABET * 5)[at : at + 153] for at in range(64)]

TICK_S = 0.001
"""Writers sleep this long at least; events that become due meanwhile are written in
one go."""


def event(number: int, stream: int, stamp: int) -> bytes:
    """Event ``number`` of stream ``stream``, stamped with CLOCK_MONOTONIC ns."""
    pad = _PADS[(number + stream) & 63]
    return b'data: %012x %016x %08x %b\n\n' % (number, stamp, stream, pad)


def finished_stream(size: int, stream: int = 0) -> bytes:
    """The first ``size`` bytes of a stream, without stamps."""
    count = -(-size // EVENT_BYTES)
    return b''.join(event(i, stream, 0) for i in range(count))[:size]


class Pace:
    """Absolute deadlines: which events are due, and how long to sleep.

    Event k of all streams together is due at ``k / (streams * rate)`` seconds; it goes
    to stream ``k % streams``. An event that is handed out after that is late, whatever
    the cause.

    Args:
        streams: number of streams.
        rate: events per second and stream.
        seconds: how long.
    """

    def __init__(self, streams: int, rate: float, seconds: float) -> None:
        self.per_stream = max(round(rate * seconds), 1)
        self.total = self.per_stream * streams
        self._per_s = rate * streams
        self._done = 0
        self._began = time.monotonic()
        self.late_s = 0.0

    def due(self) -> range:
        """The numbers k that are due now, each handed out once."""
        elapsed = time.monotonic() - self._began
        upto = min(int(elapsed * self._per_s) + 1, self.total)
        if upto > self._done:
            self.late_s = max(self.late_s, elapsed - self._done / self._per_s)
        batch = range(self._done, upto)
        self._done = max(upto, self._done)
        return batch

    @property
    def over(self) -> bool:
        """Whether all have been handed out."""
        return self._done >= self.total

    def sleep_s(self) -> float:
        """Seconds until the next is due, a tick at least."""
        due = self._began + self._done / self._per_s
        return max(due - time.monotonic(), TICK_S)

    def summary(self) -> dict[str, float]:
        """What was written: events per stream, seconds it took, worst lateness."""
        return {
            'per_stream': self.per_stream,
            'seconds': time.monotonic() - self._began,
            'late_ms': self.late_s * 1000,
        }


def write_paced(
    streams: int,
    rate: float,
    seconds: float,
    emit: Callable[[int, bytes], object],
    flush: Callable[[], object] | None = None,
) -> dict[str, float]:
    """Write events 1, 2, ... of each stream; event 0 has been written before.

    Args:
        streams: number of streams.
        rate: events per second and stream.
        seconds: how long.
        emit: writes one event to one stream.
        flush: called after each batch.
    """
    pace = Pace(streams, rate, seconds)
    while not pace.over:
        batch = pace.due()
        for k in batch:
            number, stream = divmod(k, streams)
            emit(stream, event(number + 1, stream, time.monotonic_ns()))
        if flush is not None and batch:
            flush()
        time.sleep(pace.sleep_s())
    return pace.summary()
