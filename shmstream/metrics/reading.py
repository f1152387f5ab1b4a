"""Reads the numbers of a whole deployment from its runtime directory.

No process is asked for a number, so it works when the supervisor is down. Whether there
is a supervisor is seen by a connection to its socket, which is closed at once.
"""

from __future__ import annotations

import socket
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from shmstream.errors import SupervisorUnavailable
from shmstream.memory.directory import RuntimeDirectory
from shmstream.metrics.blocks import (
    DEPARTED,
    SUPERVISOR,
    W_PIDS,
    W_TURN,
    Blocks,
    slot_at,
)
from shmstream.metrics.catalogue import (
    BYTES,
    DRAINING,
    FOLLOWERS,
    GAUGES,
    METRICS,
    PRODUCERS,
    WORDS,
    Kind,
    Metric,
)
from shmstream.metrics.departed import is_folded
from shmstream.ring.layout import MAX_SLOTS
from shmstream.version import __version__

_TRIES: Final = 1000
"""How often the file is copied at the most. A copy takes some 20 us, and another one is
needed only if a worker has come or gone during it."""


@dataclass(frozen=True)
class Histogram:
    """The durations that a histogram has counted.

    Attributes:
        bounds: the upper bounds of the buckets in seconds, without the last one, which
            has none.
        buckets: how many durations are in each bucket, and in no lower one.
        total: the sum of all durations in seconds.
    """

    bounds: tuple[float, ...]
    buckets: tuple[int, ...]
    total: float

    @property
    def count(self) -> int:
        """How many durations have been counted."""
        return sum(self.buckets)

    def quantile(self, share: float) -> float | None:
        """Return the bound below which this share lies; None: nothing was counted.

        Args:
            share: from 0 to 1.
        """
        wanted, seen = share * self.count, 0
        if not self.count:
            return None
        for bound, number in zip(self.bounds, self.buckets, strict=False):
            seen += number
            if seen >= wanted:
                return bound
        return float('inf')


@dataclass(frozen=True)
class Family:
    """One metric with its numbers.

    Attributes:
        name: with prefix, without the suffixes of its samples.
        kind: counter, gauge or histogram.
        text: what it counts.
        unit: ``'bytes'``, ``'seconds'`` or nothing.
        label: the name of its label; empty: it has none.
        values: the number for each value of the label (``''`` if it has none).
        histogram: the durations, if it is a histogram.
    """

    name: str
    kind: Kind
    text: str
    unit: str = ''
    label: str = ''
    values: dict[str, int] = field(default_factory=dict)
    histogram: Histogram | None = None


@dataclass(frozen=True)
class WorkerReading:
    """What one process of the deployment counts.

    Attributes:
        slot: the number of its slot.
        pid: its process id, for people to read.
        followers: its followers.
        producers: the streams that it writes.
        draining: whether it has been told to leave.
        bytes_in: bytes that it has written to streams.
        bytes_out: bytes that its readers have got.
    """

    slot: int
    pid: int
    followers: int
    producers: int
    draining: bool
    bytes_in: int
    bytes_out: int


@dataclass(frozen=True)
class Reading:
    """All numbers of a deployment at one moment.

    Attributes:
        at: when it was read, unix time in seconds.
        since: when the counters began at 0, unix time in seconds.
        version: the version of shmstream that has read it.
        supervisor_up: whether a supervisor is there. If not, the numbers of sessions
            and memory are as it has last published them.
        families: all metrics.
        workers: the processes that are there.

    Example::

        reading = read(Path('/dev/shm/shmstream-1000'))
        print(reading.value('sessions', 'live'), reading.value('followers'))
    """

    at: float
    since: float
    version: str
    supervisor_up: bool
    families: tuple[Family, ...]
    workers: tuple[WorkerReading, ...]

    def family(self, name: str) -> Family:
        """Return one metric; its name with or without ``shmstream_``.

        Raises:
            KeyError: there is no such metric.
        """
        wanted = f'shmstream_{name.removeprefix("shmstream_")}'
        for family in self.families:
            if family.name == wanted:
                return family
        raise KeyError(name)

    def has_all(self) -> bool:
        """Whether it has every metric of this version, with all its values."""
        found = {family.name: family.values.keys() for family in self.families}
        return all(
            metric.full_name in found
            and (metric.bounds or found[metric.full_name] >= set(metric.values))
            for metric in METRICS
        )

    def value(self, name: str, value: str | None = None) -> int:
        """Return one number.

        Args:
            name: the metric.
            value: the value of its label; None: the sum of all its numbers.

        Raises:
            KeyError: there is no such metric or value.
        """
        values = self.family(name).values
        return sum(values.values()) if value is None else values[value]

    def histogram(self, name: str) -> Histogram:
        """Return the durations of one metric; raises ``KeyError`` as ``family``."""
        found = self.family(name).histogram
        if found is None:
            raise KeyError(name)
        return found


def read(directory: Path) -> Reading:
    """Read the numbers of the deployment in a runtime directory.

    Takes under a millisecond, and waits for nobody; opens files, so call it in a thread
    if you are on an event loop.

    Raises:
        SupervisorUnavailable: no deployment runs in this directory.
        LayoutMismatch: it is of another version of shmstream.
        DirectoryRefused: the directory is not there, or not private to this user.
        OSError: a file cannot be opened.

    Example::

        print(read(Path('/dev/shm/shmstream-1000')).value('bytes', 'out'))
    """
    where = RuntimeDirectory(directory)
    where.check()
    blocks = Blocks.attach(where.metrics)
    words = _copy(blocks.words)
    there = [slot for slot in range(MAX_SLOTS) if not is_folded(words, slot)]
    sums = _sums(words, there)
    up = _answers(where.socket)
    workers = tuple(_worker(words, slot) for slot in there)
    families = [_family(metric, sums) for metric in METRICS]
    draining = sum(worker.producers for worker in workers if worker.draining)
    families += [
        _one('workers', 'Processes that are attached.', len(workers)),
        _one('draining_streams', 'Streams that leaving workers still write.', draining),
        _one('supervisor_up', 'Whether a supervisor is there: 1, or 0.', int(up)),
    ]
    return Reading(
        time.time(), blocks.made_at, __version__, up, tuple(families), workers
    )


def _copy(words: memoryview) -> memoryview:
    """Copy the file, at a moment between two comings or goings of workers."""
    head = words[W_TURN : W_PIDS + MAX_SLOTS]
    for _ in range(_TRIES):
        before = head.tobytes()
        copied = words.tobytes()
        if head.tobytes() == before:
            return memoryview(copied).cast('Q')
    raise SupervisorUnavailable('workers come and go too fast to be counted')


def _sums(words: memoryview, there: list[int]) -> list[int]:
    departed = DEPARTED[words[W_TURN] & 1]
    sums = words[SUPERVISOR : SUPERVISOR + WORDS].tolist()
    for at in range(GAUGES):
        sums[at] += words[departed + at]
    for slot in there:
        block = slot_at(slot)
        for at, number in enumerate(words[block : block + WORDS].tolist()):
            sums[at] += number
    return sums


def _family(metric: Metric, sums: list[int]) -> Family:
    name, at = metric.full_name, metric.at
    if metric.kind == 'histogram':
        last = at + metric.words - 1
        found = Histogram(metric.bounds, tuple(sums[at:last]), sums[last] / 1e9)
        return Family(name, metric.kind, metric.text, metric.unit, histogram=found)
    values = dict(zip(metric.values, sums[at : at + metric.words], strict=True))
    return Family(name, metric.kind, metric.text, metric.unit, metric.label, values)


def _one(name: str, text: str, number: int) -> Family:
    return Family(f'shmstream_{name}', 'gauge', text, values={'': number})


def _worker(words: memoryview, slot: int) -> WorkerReading:
    block = slot_at(slot)
    first = block + FOLLOWERS.at
    return WorkerReading(
        slot,
        words[W_PIDS + slot],
        sum(words[first : first + FOLLOWERS.words].tolist()),
        words[block + PRODUCERS.at],
        bool(words[block + DRAINING.at]),
        words[block + BYTES.of('in')],
        words[block + BYTES.of('out')],
    )


def _answers(path: Path) -> bool:
    """Whether somebody listens on the supervisor's socket; waits for nobody."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as asker:
        asker.setblocking(False)
        try:
            asker.connect(str(path))
        except BlockingIOError:
            # It is there, and has more connections to accept than its queue holds.
            return True
        except OSError:
            return False
    return True
