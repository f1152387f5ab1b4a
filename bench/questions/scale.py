"""Does a session or a follower cost more when there are more of them?

Memory and descriptors are slopes: the difference between two populations, divided by
the difference of their sizes. Memory is that of all processes (private, proportional),
and what the segments take of shared memory, each page counted once. CPU per event is
measured at growing numbers of sessions, one follower each, and of followers of one
session, at a constant rate per session. The service is the one that is shipped, with
two workers.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import ExitStack

from bench.driving import Sample, Shape, window
from bench.events import EVENT_BYTES
from bench.measure import Scratch, interleaved, say, stat
from bench.parts.holding import WAIT
from bench.parts.population import Followers, HoldingService, Size
from bench.peers.ours import Ours
from bench.report import Options, Plot, Report, Row, Stat
from shmstream import Streams

LIVE_BYTES = 20_000
FINISHED_BYTES = 4 << 20
LOOKUP_IDS = 5000
SESSION_RATE, FOLLOWER_RATE = 5.0, 2.0
SETTLE_S = 0.5

Found = dict[str, float]
TARGETS: dict[str, tuple[float, str]] = {
    'live 20 KB session, KiB': (40, 'T10'),
    'further follower, KiB': (24, 'T10'),
    'finished 4 MiB session, KiB': (4.1 * 1024, 'T10'),
    'look-up of 5,000 ids, 50 there, ms': (10, 'T12'),
    'look-up of 5,000 ids, 5000 there, ms': (10, 'T12'),
    'creations per second': (-2000, 'T12'),
}
"""What a figure may be at most; if negative, what it must be at least."""


def run(options: Options) -> Report:
    """Memory first, then how the cost of an event grows."""
    report = Report('scale', 'what each session and follower costs, and what more cost')
    rounds = options.rounds or (1 if options.quick else 3)
    _figures(rounds, options.quick, report)
    for what, sizes, rate in (
        (
            'sessions',
            (10, 300) if options.quick else (10, 100, 500, 2000),
            SESSION_RATE,
        ),
        (
            'followers',
            (10, 500) if options.quick else (10, 200, 1000, 5000),
            FOLLOWER_RATE,
        ),
    ):
        if options.wants_workload(what):
            _growth(what, sizes, rate, rounds, options, report)
    return report


# -- what each costs -----------------------------------------------------------------


def _figures(rounds: int, quick: bool, report: Report) -> None:
    samples: dict[str, list[float]] = {}
    for number in range(rounds):
        say(f'memory and descriptors, round {number + 1} of {rounds}')
        with Scratch() as scratch, ExitStack() as stack:
            service = HoldingService(scratch)
            stack.callback(service.stop)
            service.start()
            followers = Followers(service.port)
            stack.callback(followers.close)
            found = _populate(service, followers, quick)
            followers.close()
            found |= _control_plane(service, 500 if quick else LOOKUP_IDS)
        for name, value in found.items():
            samples.setdefault(name, []).append(value)
    for name, values in samples.items():
        target, label = TARGETS.get(name, (None, ''))
        cells: dict[str, Stat | float | str | None] = {'figure': stat(values)}
        if target is not None:
            cells['target'] = f'{label}: {"<=" if target > 0 else ">="} {abs(target):g}'
        report.rows.append(Row('ours', name, cells))


def _populate(service: HoldingService, followers: Followers, quick: bool) -> Found:
    """Sessions and followers in two steps each; the first has the one-time costs."""
    first, more = (100, 300) if quick else (300, 1200)
    found: Found = {}
    service.make('live', 0, first, LIVE_BYTES)
    before = _settled(service)
    service.make('live', first, more, LIVE_BYTES)
    after = _settled(service)
    found |= after.per(before, more).figures('live 20 KB session')

    targets = [f'/v1/stream/live-{i}?from={LIVE_BYTES}' for i in range(first + more)]
    followers.add(targets[:first])
    before = _settled(service)
    followers.add(targets[first:])
    after = _settled(service)
    found |= after.per(before, more).figures('first follower of a session')

    followers.add(targets[:1] * first)
    before = _settled(service)
    followers.add(targets[:1] * more)
    after = _settled(service)
    found |= after.per(before, more).figures('further follower')
    # The floor: any response that this server holds open costs as much.
    before = _settled(service)
    followers.add([WAIT] * more)
    after = _settled(service)
    found |= after.per(before, more).figures('floor: a waiting answer')

    one, many = 2, 4 if quick else 8
    size = FINISHED_BYTES // EVENT_BYTES * EVENT_BYTES
    service.make('done', 0, one, FINISHED_BYTES, finish=True)
    for number in range(one):
        service.replay_everywhere(f'done-{number}', size)
    before = _settled(service)
    service.make('done', one, many, FINISHED_BYTES, finish=True)
    for number in range(one, one + many):
        service.replay_everywhere(f'done-{number}', size)
    after = _settled(service)
    return found | after.per(before, many).figures('finished 4 MiB session')


def _settled(service: HoldingService) -> Size:
    time.sleep(SETTLE_S)
    return service.size()


def _control_plane(service: HoldingService, count: int) -> Found:
    """How fast sessions are made and looked up: few of 5,000 ids exist, or all do."""
    with Streams.attach(service.directory) as streams:
        streams.connect()
        began = time.monotonic()
        for number in range(count):
            with streams.create(f'made-{number}') as producer:
                producer.write(b'data: 1\n\n')
        rate = count / (time.monotonic() - began)
        made = [f'made-{i}' for i in range(LOOKUP_IDS)]
        few = made[:50] + [f'none-{i}' for i in range(LOOKUP_IDS - 50)]
        return {
            'creations per second': rate,
            'look-up of 5,000 ids, 50 there, ms': _lookup_ms(streams, few),
            f'look-up of 5,000 ids, {count} there, ms': _lookup_ms(streams, made),
        }


def _lookup_ms(streams: Streams, ids: list[str]) -> float:
    times = []
    for _ in range(9):
        began = time.monotonic()
        streams.lookup(ids)
        times.append((time.monotonic() - began) * 1000)
    return stat(times).median


# -- how cost grows ------------------------------------------------------------------


def _growth(
    what: str,
    sizes: Sequence[int],
    rate: float,
    rounds: int,
    options: Options,
    report: Report,
) -> None:
    seconds = options.seconds or (3.0 if options.quick else 6.0)
    samples: dict[int, list[Sample]] = {}
    with Scratch() as scratch, ExitStack() as stack:
        service = Ours(scratch)
        stack.callback(service.stop)
        service.start()
        for number, size in interleaved(rounds, sizes):
            say(f'{size} {what} at {rate:g}/s, round {number + 1} of {rounds}')
            streams, readers = (size, 1) if what == 'sessions' else (1, size)
            sample = window(service, Shape(streams, readers, rate), seconds)
            if not sample.clean:
                report.notes.append(f'{size} {what}: {sample.trouble}')
            samples.setdefault(size, []).append(sample)
    costs = {n: stat(one.server_s for one in found) for n, found in samples.items()}
    for size in sizes:
        cells: dict[str, Stat | float | str | None] = {
            'CPU us/event': costs[size],
            'p50 ms': stat(one.p50_ms for one in samples[size]),
            'p99 ms': stat(one.p99_ms for one in samples[size]),
        }
        report.rows.append(Row('ours', f'{size} {what}, {rate:g}/s each', cells))
    few, most, many = (costs[sizes[i]].median for i in (0, -2, -1))
    report.notes.append(
        f'T12: an event costs {few:.0f} us with {sizes[0]} {what}, {many:.0f} us with'
        f' {sizes[-1]}: {many / few:.2f} times, and {many / most:.2f} times what it'
        f' costs with {sizes[-2]} (target: at most 1.2)'
    )
    points = [(n, costs[n].median, costs[n].low, costs[n].high) for n in sizes]
    report.plots.append(
        Plot(
            name=f'scale-{what}',
            title=f'Cost of an event as {what} grow',
            x=f'{what}, {rate:g} events per second each',
            y='CPU us per event, all processes of the service',
            series={'ours': points},
            log_x=True,
            log_y=True,
        )
    )
