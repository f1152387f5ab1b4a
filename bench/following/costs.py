"""What a delivered event costs, and how late it is, by workload and rate."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from bench.driving import Sample, Shape, window
from bench.measure import interleaved, say, stat
from bench.peers.base import Peer
from bench.report import Options, Plot, Report, Row

WORKLOADS: dict[str, tuple[Shape, ...]] = {
    'W2': (Shape(1, 200, 50), Shape(1, 200, 400)),
    'W3': (Shape(200, 1, 20), Shape(200, 1, 160)),
    'readers': tuple(Shape(1, n, 5) for n in (10, 100, 1000, 5000)),
    'streams': tuple(Shape(n, 1, 5) for n in (10, 100, 500, 2000)),
    'mixed': (Shape(500, 3, 5, churn=50),),
}

Samples = dict[tuple[str, Shape, str], list[Sample]]
"""By workload, shape and peer."""


def run(
    options: Options, workloads: Sequence[str], peers: Sequence[Peer], report: Report
) -> None:
    """Measure these workloads, interleaved; rows, ratios and plots into the report."""
    seconds = options.seconds or (2.0 if options.quick else 5.0)
    warm_s = 0.5 if options.quick else 1.0
    rounds = options.rounds or (1 if options.quick else 3)
    samples: Samples = {}
    todo = [
        (workload, shape, peer)
        for workload in workloads
        for shape in _shapes(options, workload)
        for peer in peers
        if peer.rejoins or not shape.churn
    ]
    for number, (workload, shape, peer) in interleaved(rounds, todo):
        sample = window(peer, shape, seconds, warm_s)
        samples.setdefault((workload, shape, peer.name), []).append(sample)
        say(
            f'round {number + 1}/{rounds} {_case(workload, shape)} {peer.name}: '
            f'{sample.server_s:.1f} + {sample.writer_s:.1f} CPU s/M, '
            f'p50 {sample.p50_ms:.2f} p99 {sample.p99_ms:.2f} ms {sample.trouble}'
        )
    for workload, shape, peer in todo:
        found = samples[workload, shape, peer.name]
        report.rows.append(_row(_case(workload, shape), peer.name, found))
    _ratios(samples, report)
    report.plots += _bars(samples) + _lines(samples)


def _shapes(options: Options, workload: str) -> Sequence[Shape]:
    shapes = WORKLOADS[workload]
    if options.quick or options.rate:
        shapes = shapes[:1] if workload in ('W2', 'W3') else shapes
    if options.streams or options.readers:
        shapes = shapes[:1]
    shapes = tuple(
        dataclasses.replace(
            shape,
            streams=options.streams or shape.streams,
            readers=options.readers or shape.readers,
        )
        for shape in shapes
    )
    if not options.rate:
        return shapes
    return [
        dataclasses.replace(shape, rate=rate)
        for shape in shapes
        for rate in options.rate
    ]


def _case(workload: str, shape: Shape) -> str:
    return f'{workload} {shape.streams}x{shape.readers} {shape.rate:g}/s'


def _row(case: str, peer: str, samples: Sequence[Sample]) -> Row:
    troubles = [s.trouble for s in samples if s.trouble]
    return Row(
        peer,
        case,
        {
            'server CPU s/M': stat(s.server_s for s in samples),
            'with writer': stat(s.total_s for s in samples),
            'p50 ms': stat(s.p50_ms for s in samples),
            'p99 ms': stat(s.p99_ms for s in samples),
            'events/s': stat(s.events_per_s for s in samples).median,
            'writer late ms': stat(s.late_ms for s in samples).median,
            'client busy': stat(s.client_busy for s in samples).median,
            'trouble': troubles[0][:60] if troubles else '',
        },
    )


def _ratios(samples: Samples, report: Report) -> None:
    """Ours against each peer, round by round: noise of the machine hits both alike."""
    for (workload, shape, name), theirs in samples.items():
        ours = samples.get((workload, shape, 'ours'))
        if ours is None or name == 'ours':
            continue
        pairs = list(zip(ours, theirs, strict=True))
        cpu = stat(a.server_s / b.server_s for a, b in pairs if b.server_s)
        total = stat(a.total_s / b.total_s for a, b in pairs if b.total_s)
        p99 = stat(a.p99_ms / b.p99_ms for a, b in pairs if b.p99_ms)
        if name in ('fastapi', 'events'):
            # These are ours as well: what a user's response, or ids, cost more.
            more = stat(b.server_s / a.server_s for a, b in pairs if a.server_s)
            report.notes.append(
                f'{_case(workload, shape)}: {name} / ours: server CPU {more}'
            )
        report.notes.append(
            f'{_case(workload, shape)}: ours / {name}: server CPU {cpu}, '
            f'with writer {total}, p99 {p99}'
        )


def _bars(samples: Samples) -> list[Plot]:
    cpu: dict[str, list[tuple[object, ...]]] = {}
    late: dict[str, list[tuple[object, ...]]] = {}
    for (workload, shape, name), found in samples.items():
        if workload in ('readers', 'streams'):
            continue
        case = _case(workload, shape)
        total, p99 = stat(s.total_s for s in found), stat(s.p99_ms for s in found)
        cpu.setdefault(name, []).append((case, total.median, total.low, total.high))
        late.setdefault(name, []).append((case, p99.median, p99.low, p99.high))
    if not cpu:
        return []
    where = 'workload: streams x readers, events/s of each stream'
    return [
        Plot(
            'follow-cpu',
            'CPU of server and writer per event delivered (less is better)',
            where,
            'CPU seconds per million events',
            cpu,
        ),
        Plot(
            'follow-latency',
            'Delivery latency, write to read (less is better)',
            where,
            'p99, ms',
            late,
            log_y=True,
        ),
    ]


def _lines(samples: Samples) -> list[Plot]:
    plots = []
    for workload, label in (('readers', 'followers of 1 stream'), ('streams', '')):
        cpu: dict[str, list[tuple[object, ...]]] = {}
        for (case, shape, name), found in samples.items():
            if case == workload:
                total = stat(s.total_s for s in found)
                point = (total.median, total.low, total.high)
                count = shape.streams * shape.readers
                cpu.setdefault(name, []).append((count, *point))
        if cpu:
            plots.append(
                Plot(
                    f'follow-{workload}',
                    'CPU of server and writer per event delivered, 5 events/s',
                    label or 'streams with 1 follower each',
                    'CPU seconds per million events',
                    cpu,
                    log_x=True,
                    log_y=True,
                )
            )
    return plots
