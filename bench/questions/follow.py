"""Live streams: CPU per event delivered, latency, and the highest rate held.

Workloads, for ``--workload``; ``--rate``, ``--streams`` and ``--readers`` override:

    W2       fan-out, 1 stream with 200 followers
    W3       200 streams with 1 follower each
    W2held   the highest rate of W2 (doubling) with p99 under 50 ms and nothing lost
    W3held   the same of W3
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from bench.driving import Sample, Shape, window
from bench.measure import interleaved, say, stat
from bench.peers.base import Peer
from bench.peers.registry import LIVE, running
from bench.report import Cell, Options, Plot, Report, Row

SHAPES = {'W2': Shape(1, 200, 50), 'W3': Shape(200, 1, 20)}
RATES = {'W2': (50.0, 400.0), 'W3': (20.0, 160.0)}
HIGHEST = {'W2': 51_200.0, 'W3': 5_120.0}


def run(options: Options) -> Report:
    """Measure what was asked for."""
    report = Report('follow', 'live streams: events of 200 bytes, every byte checked')
    with running(options, LIVE, report.notes) as peers:
        _costs(options, peers, report)
        for workload in SHAPES:
            name = f'{workload}held'
            if options.wants_workload(name) and not (
                options.quick and not options.workload
            ):
                _highest(options, peers, workload, report)
    return report


def _cases(options: Options) -> list[tuple[str, Shape]]:
    cases = []
    for workload, shape in SHAPES.items():
        if not options.wants_workload(workload):
            continue
        shape = dataclasses.replace(
            shape,
            streams=options.streams or shape.streams,
            readers=options.readers or shape.readers,
        )
        rates = options.rate or RATES[workload][: 1 if options.quick else None]
        for rate in rates:
            case = f'{workload} {shape.streams}x{shape.readers} {rate:g}/s'
            cases.append((case, dataclasses.replace(shape, rate=rate)))
    return cases


def _costs(options: Options, peers: Sequence[Peer], report: Report) -> None:
    seconds = options.seconds or (2.0 if options.quick else 5.0)
    warm_s = 0.5 if options.quick else 1.0
    rounds = options.rounds or (1 if options.quick else 5)
    samples: dict[tuple[str, str], list[Sample]] = {}
    todo = [(case, shape, peer) for case, shape in _cases(options) for peer in peers]
    for number, (case, shape, peer) in interleaved(rounds, todo):
        sample = window(peer, shape, seconds, warm_s)
        samples.setdefault((case, peer.name), []).append(sample)
        say(
            f'round {number + 1}/{rounds} {case} {peer.name}: '
            f'{sample.server_s:.1f} + {sample.writer_s:.1f} CPU s/M, '
            f'p50 {sample.p50_ms:.2f} p99 {sample.p99_ms:.2f} ms {sample.trouble}'
        )
    for case, _, peer in todo:
        report.rows.append(_row(case, peer.name, samples[case, peer.name]))
    if todo:
        _ratios(samples, report)
        report.plots += _plots(samples)


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
            'client busy': stat(s.client_busy for s in samples).median,
            'trouble': troubles[0][:60] if troubles else '',
        },
    )


def _ratios(samples: dict[tuple[str, str], list[Sample]], report: Report) -> None:
    """Ours against each peer, round by round: what a noisy machine leaves."""
    for case in dict.fromkeys(case for case, _ in samples):
        ours = samples.get((case, 'ours'))
        if ours is None:
            continue
        for (other, name), theirs in samples.items():
            if other != case or name == 'ours':
                continue
            pairs = list(zip(ours, theirs, strict=True))
            cpu = stat(a.server_s / b.server_s for a, b in pairs if b.server_s)
            total = stat(a.total_s / b.total_s for a, b in pairs if b.total_s)
            p99 = stat(a.p99_ms / b.p99_ms for a, b in pairs if b.p99_ms)
            report.notes.append(
                f'{case}: ours / {name}: server CPU {cpu}, with writer {total}, '
                f'p99 {p99}'
            )


def _plots(samples: dict[tuple[str, str], list[Sample]]) -> list[Plot]:
    cpu: dict[str, list[tuple[object, ...]]] = {}
    late: dict[str, list[tuple[object, ...]]] = {}
    for (case, name), found in samples.items():
        total = stat(s.total_s for s in found)
        p99 = stat(s.p99_ms for s in found)
        cpu.setdefault(name, []).append((case, total.median, total.low, total.high))
        late.setdefault(name, []).append((case, p99.median, p99.low, p99.high))
    where = 'workload: streams x readers, rate of each stream'
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


def _highest(
    options: Options, peers: Sequence[Peer], workload: str, report: Report
) -> None:
    """Double the rate until it is not held, twice."""
    seconds = options.seconds or 2.0
    for peer in peers:
        rate, best, last = SHAPES[workload].rate, 0.0, None
        while rate <= HIGHEST[workload]:
            shape = dataclasses.replace(SHAPES[workload], rate=rate)
            sample = window(peer, shape, seconds, 0.7)
            if not sample.held:
                sample = window(peer, shape, seconds, 0.7)
            say(
                f'{workload} {peer.name} {rate:g}/s: p99 {sample.p99_ms:.1f} ms '
                f'{"held" if sample.held else "not held"} {sample.trouble}'
            )
            if not sample.held:
                break
            best, last, rate = rate, sample, rate * 2
        values: dict[str, Cell] = {'held events/s': best}
        values['limit'] = sample.trouble[:60]
        if last is not None:
            values |= {'p99 ms': last.p99_ms, 'with writer': last.total_s}
        report.rows.append(Row(peer.name, f'{workload} held', values))
