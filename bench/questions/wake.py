"""How long after a write in one process does a reader in another have the bytes?

Chunks of 200 bytes carry the monotonic time at which they were written. "idle": one
every 6 to 20 ms, at random, so that the reader has gone back to sleep each time; then
1,000 to 100,000 a second. Readers of ours: a thread, and event loops. Against: a bare
semaphore posted for each chunk beside shared memory (the least there can be), a pipe,
Redis publish and subscribe, and Redis streams. "ping-pong" is half of a round trip of
bare semaphores between two CPUs, back to back, and with the same pauses.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from typing import Any

from bench.measure import interleaved, say, stat
from bench.native.build import Missing
from bench.parts import waking
from bench.parts.redis import redis
from bench.parts.wake_readers import Summary
from bench.parts.waking import Series
from bench.report import Options, Plot, Report, Row, Stat
from shmstream import Streams, SupervisorConfig

RATES = (0, 1_000, 10_000, 100_000)
TARGETS = {'thread': 1.5, 'uvloop': 2.5}
TARGET_P99_US = 1000
PING_PONG = 'ping-pong'
OURS = ('thread', 'uvloop', 'asyncio')

Open = Callable[[], AbstractContextManager[Series]]
Stats = dict[tuple[str, str], dict[str, Stat]]


def _count(per_second: int, quick: bool) -> int:
    """Chunks in a series: a third of a second quick, or else about a second."""
    if per_second == 0:
        return 40 if quick else 120
    return int(per_second * (0.3 if quick else 1))


def _case(per_second: int) -> str:
    return f'{per_second:,}/s' if per_second else 'idle'


def run(options: Options) -> Report:
    """Measure everything in interleaved rounds."""
    report = Report('wake', 'age of a chunk when its reader has it, microseconds')
    samples: dict[tuple[str, str], list[Summary]] = {}
    rounds = options.rounds or (2 if options.quick else 7)
    with ExitStack() as stack:
        openers = _openers(stack, options, report.notes)
        for number, name in interleaved(rounds, [PING_PONG, *openers]):
            say(f'round {number + 1} of {rounds}: {name}')
            if name == PING_PONG:
                count = _count(0, options.quick)
                for case, found in (
                    ('idle', waking.half_round_trips(count, idle=True)),
                    ('back to back', waking.half_round_trips(2000, idle=False)),
                ):
                    samples.setdefault((case, name), []).append(found)
                continue
            with openers[name]() as series:
                for rate in map(int, options.rate) if options.rate else RATES:
                    found = series(rate, _count(rate, options.quick))
                    samples.setdefault((_case(rate), name), []).append(found)
    stats = {
        key: {name: stat(one[name] for one in found) for name in found[0]}
        for key, found in samples.items()
    }
    order = ['back to back', *map(_case, RATES)]
    for (case, name), values in sorted(
        stats.items(), key=lambda item: order.index(item[0][0])
    ):
        cells: dict[str, Stat | float | str | None] = {
            'p50 us': values['p50'],
            'p99 us': values['p99'],
            'written/s': values.get('per_second'),
            'reader CPU us': values.get('reader_cpu_us'),
        }
        report.rows.append(Row(name, case, cells))
    report.notes += _verdict(stats)
    report.plots = [_plot(stats, 'p50'), _plot(stats, 'p99')]
    return report


def _openers(stack: ExitStack, options: Options, notes: list[str]) -> dict[str, Open]:
    openers: dict[str, Open] = {}
    if any(map(options.wants, OURS)):
        directory = Path(f'/dev/shm/shmstream-bench-{os.getpid()}-wake')
        config = SupervisorConfig(capacity=waking.CAPACITY)
        streams = stack.enter_context(Streams.attach(directory, supervise=config))
        for kind in OURS:
            openers[kind] = functools.partial(waking.shm, streams, directory, kind)
    openers |= {'semaphore': waking.semaphore, 'pipe': waking.pipe}
    names = {
        'redis pubsub': waking.redis_published,
        'redis stream': waking.redis_stream,
    }
    if any(map(options.wants, names)):
        try:
            server = stack.enter_context(redis())
            for name, open_one in names.items():
                openers[name] = functools.partial(open_one, server)
        except Missing as ex:
            notes.append(f'skipped: {ex}')
    return {name: opener for name, opener in openers.items() if options.wants(name)}


def _verdict(stats: Stats) -> list[str]:
    lines = []
    half = stats['back to back', PING_PONG]['p50'].median
    for name, factor in TARGETS.items():
        found = stats.get(('idle', name))
        if found is None:
            continue
        p50, p99 = found['p50'].median, found['p99'].median
        line = (
            f'T2, {name}, idle: p50 {p50:.0f} us is {p50 / half:.1f} times half a'
            f' semaphore round trip of {half:.0f} us (target {factor})'
        )
        if (least := stats.get(('idle', 'semaphore'))) is not None:
            line += f', {p50 / least["p50"].median:.1f} times a semaphore one way'
        lines.append(f'{line}; p99 {p99:.0f} us (target {TARGET_P99_US})')
    return lines


def _plot(stats: Stats, part: str) -> Plot:
    series: dict[str, Sequence[tuple[Any, ...]]] = {}
    for rate in RATES:
        for (case, name), values in stats.items():
            if case == _case(rate) and name != PING_PONG:
                found = values[part]
                point = (case, found.median, found.low, found.high)
                series[name] = [*series.get(name, ()), point]
    return Plot(
        name=f'wake-{part}',
        title=f'From a write to the bytes in another process, {part}',
        x='chunks written per second',
        y='microseconds',
        series=series,
        log_y=True,
    )
