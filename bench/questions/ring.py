"""What do an append and a read cost, below the ring's capacity and at it?

CPU microseconds per operation, of all processes that take part. "Below": the ring has
never been full. "At the cap": each append drops as many bytes as it adds; it must not
cost more there. Contenders: our bare ring, our ``Producer`` and ``Consumer`` with all
that they do, a ``bytearray`` that is trimmed, llama.cpp's buffer in C++ (a vector
that is erased from its front), ``multiprocessing.Queue``, Redis streams, a pipe, and
``memcpy`` alone. A queue and a pipe keep nothing: they have no cap.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from bench.measure import interleaved, say, stat
from bench.native.build import Missing, build
from bench.parts import appending
from bench.parts.appending import PLACES, Costs, Measure
from bench.parts.redis import redis
from bench.report import Options, Plot, Report, Row, Stat
from shmstream import Streams, SupervisorConfig

SIZES = (64, 200, 1024, 16384)
CPLUSPLUS = 'C++'
TARGET_US = 0.6
TARGET_RATIO = 50

Samples = dict[tuple[str, int], list[Costs]]


def _contenders(stack: ExitStack, options: Options, notes: list[str]) -> list[str]:
    """Names in ``_MEASURES`` that can be measured here."""
    directory = Path(f'/dev/shm/shmstream-bench-{os.getpid()}')
    config = SupervisorConfig(capacity=appending.CAPACITY)
    streams = stack.enter_context(Streams.attach(directory, supervise=config))
    measures: dict[str, Measure] = {
        'ring': appending.bare_ring,
        'producer': appending.producer_of(streams),
        'bytearray': appending.trimmed_bytearray,
        'queue': appending.queue,
        'pipe': appending.pipe,
    }
    try:
        if options.wants('redis'):
            server = stack.enter_context(redis())
            measures['redis'] = appending.redis_stream(server)
    except Missing as ex:
        notes.append(f'skipped: {ex}')
    try:
        build('ring.cpp')
        names = [*measures, CPLUSPLUS]
    except Missing as ex:
        notes.append(f'skipped: {ex}')
        names = list(measures)
    _MEASURES.clear()
    _MEASURES.update(measures)
    return [name for name in names if options.wants(name)]


_MEASURES: dict[str, Measure] = {}


def run(options: Options) -> Report:
    """Measure everything in interleaved rounds."""
    report = Report('ring', 'CPU us per operation on chunks, 4 MiB kept')
    samples: Samples = {}
    rounds = options.rounds or (3 if options.quick else 9)
    count = 5_000 if options.quick else 20_000
    with ExitStack() as stack:
        names = _contenders(stack, options, report.notes)
        for number, name in interleaved(rounds, names):
            say(f'round {number + 1} of {rounds}: {name}')
            for size in SIZES:
                if name == CPLUSPLUS:
                    found = appending.cplusplus(size, count)
                else:
                    found = {name: _MEASURES[name](size, count)}
                for who, costs in found.items():
                    samples.setdefault((who, size), []).append(costs)
    medians = {key: _stats(costs) for key, costs in sorted(samples.items(), key=_order)}
    for (who, size), values in medians.items():
        report.rows.append(Row(who, f'{size} B', dict(values)))
    report.notes += _verdict(medians)
    report.plots = [
        _plot(medians, 'append cap', 'an append to a full buffer'),
        _plot(medians, 'append below', 'an append below the cap'),
        _plot(medians, 'read cap', 'a read of one chunk'),
    ]
    return report


def _order(item: tuple[tuple[str, int], list[Costs]]) -> tuple[int, bool]:
    (who, size), _ = item
    return size, who not in ('ring', 'producer')


def _stats(rounds: list[Costs]) -> dict[str, Stat]:
    return {
        place: stat(costs[place] for costs in rounds if place in costs)
        for place in PLACES
        if place in rounds[0]
    }


def _verdict(medians: dict[tuple[str, int], dict[str, Stat]]) -> list[str]:
    lines = []
    ours, original = medians.get(('producer', 200)), medians.get(('C++ vector', 200))
    if ours is not None:
        cap, below = ours['append cap'].median, ours['append below'].median
        lines.append(
            f'T1: an append of 200 B costs the producer {ours["append cap"]} us at the'
            f' cap (target {TARGET_US}), {cap / below:.2f} times what it costs below'
        )
        if original is not None:
            ratio = original['append cap'].median / cap
            lines.append(
                f'T1: at the cap {ratio:.0f} times faster than the C++ vector'
                f' (target {TARGET_RATIO})'
            )
    return lines


def _plot(
    medians: dict[tuple[str, int], dict[str, Stat]], place: str, title: str
) -> Plot:
    series: dict[str, Sequence[tuple[Any, ...]]] = {}
    for (who, size), values in medians.items():
        if (found := values.get(place)) is not None:
            point = (size, found.median, found.low, found.high)
            series[who] = [*series.get(who, ()), point]
    return Plot(
        name=f'ring-{place.replace(" ", "-")}',
        title=f'Cost of {title}',
        x='chunk, bytes',
        y='CPU, us per operation',
        series={who: sorted(points) for who, points in series.items()},
        log_x=True,
        log_y=True,
    )
