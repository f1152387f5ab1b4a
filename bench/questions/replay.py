"""A finished stream read again: against nginx with sendfile, and Falcon's floor.

Workloads, for ``--workload``:

    64K, 4M   that many bytes at concurrency 1, 16, 64, over kept connections
    burst     1,000 clients that come back at once, at random offsets of 4 MiB
    paths     ways to send bytes that are in memory: ASGI and WSGI

``falcon`` answers with bytes that it holds: no response of this server can cost less.
Its smallest response (``event``, 200 bytes) is the HTTP floor.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from bench.load import load_client
from bench.measure import CpuWindow, Process, interleaved, say, stat
from bench.peers.base import Peer
from bench.peers.finished import (
    Falcon,
    FalconFinished,
    Finished,
    NginxFinished,
    OursFinished,
    Target,
)
from bench.peers.nginx import Nginx
from bench.peers.ours import Ours
from bench.peers.paths import PATHS, paths_of
from bench.peers.registry import running
from bench.report import Options, Plot, Report, Row

CONCURRENCY = (1, 16, 64)
BURST = 1000

_KINDS: dict[type[Peer], type[Finished]] = {
    Ours: OursFinished,
    Nginx: NginxFinished,
    Falcon: FalconFinished,
}


@dataclass(frozen=True)
class Sample:
    """One run: rates, and CPU of the server's processes."""

    mb_per_s: float
    cpu_s_per_gb: float
    cpu_us: float
    first_p50_ms: float
    first_p99_ms: float
    seconds: float
    client_busy: float
    trouble: str


@dataclass(frozen=True)
class Case:
    """One cell: the peer, what is fetched, how many at once."""

    name: str
    peer: str
    server: Peer
    target: Target
    conns: int
    burst: bool = False


def run(options: Options) -> Report:
    """Measure what was asked for."""
    report = Report('replay', 'finished streams, every byte checked')
    kinds = [*_KINDS, *(PATHS if options.wants_workload('paths') else ())]
    with running(options, kinds, report.notes) as peers:
        cases: list[Case] = []
        for peer in peers:
            if type(peer) in _KINDS:
                finished = _KINDS[type(peer)](peer)
                finished.fill()
                cases += _cases(options, finished)
            else:
                cases += [
                    Case(f'paths {size} c16', f'{peer.name} {path}', peer, target, 16)
                    for path, size, target in paths_of(peer)
                ]
        cases.sort(key=lambda case: _order(case.name))
        samples = _measure(options, cases, report)
        _ratios(samples, report)
        report.plots += _plots(samples)
    return report


def _order(name: str) -> int:
    kinds = ('event', '64K', '4M', 'burst', 'paths')
    return next(i for i, kind in enumerate(kinds) if name.startswith(kind))


def _cases(options: Options, finished: Finished) -> list[Case]:
    cases = []
    concurrency = (16,) if options.quick else CONCURRENCY
    sizes = ['64K', '4M']
    if isinstance(finished, FalconFinished):
        sizes.insert(0, 'event')
    for size in sizes:
        if options.wants_workload(size) or size == 'event':
            target = finished.whole(size)
            cases += [
                Case(f'{size} c{n}', finished.name, finished.peer, target, n)
                for n in concurrency
            ]
    tail = finished.tail('4M')
    if tail is not None and options.wants_workload('burst'):
        name = f'burst {BURST} of 4M'
        cases.append(Case(name, finished.name, finished.peer, tail, BURST, burst=True))
    return cases


def _measure(
    options: Options, cases: Sequence[Case], report: Report
) -> dict[tuple[str, str], list[Sample]]:
    seconds = options.seconds or (0.8 if options.quick else 3.0)
    rounds = options.rounds or (1 if options.quick else 5)
    samples: dict[tuple[str, str], list[Sample]] = {}
    for number, case in interleaved(rounds, cases):
        sample = _sample(case, seconds)
        samples.setdefault((case.name, case.peer), []).append(sample)
        say(
            f'round {number + 1}/{rounds} {case.name} {case.peer}: '
            f'{sample.mb_per_s:.0f} MB/s, {sample.cpu_s_per_gb:.2f} CPU s/GB, '
            f'{sample.cpu_us:.0f} us/request {sample.trouble}'
        )
    for case in cases:
        report.rows.append(
            _row(case.name, case.peer, samples[case.name, case.peer], case.burst)
        )
    return samples


def _sample(case: Case, seconds: float) -> Sample:
    command = [str(load_client()), 'replay', '127.0.0.1', str(case.server.port)]
    command += ['--path', case.target.path, '--header', case.target.header]
    command += ['--conns', str(case.conns), '--bytes', str(case.target.size)]
    command += ['--seconds', str(seconds)]
    if case.burst:
        command += ['--once', '--random']
    cpu = CpuWindow(server=case.server.pids)
    with Process('load', command, case.server.log, talk=True) as client:
        got: dict[str, Any] = client.hear(seconds + 60)
    time.sleep(0.05)
    used = cpu.read()['server']
    bad = {k: got[k] for k in ('torn', 'cut', 'refused') if got[k]}
    return Sample(
        mb_per_s=got['bytes'] / got['seconds'] / 1e6,
        cpu_s_per_gb=used / max(got['bytes'], 1) * 1e9,
        cpu_us=used / max(got['requests'], 1) * 1e6,
        first_p50_ms=got['first']['p50_us'] / 1000,
        first_p99_ms=got['first']['p99_us'] / 1000,
        seconds=got['seconds'],
        client_busy=got['client_cpu_s'] / got['seconds'],
        trouble=f'{bad} {got["error"]}' if bad else '',
    )


def _row(case: str, peer: str, samples: Sequence[Sample], burst: bool) -> Row:
    troubles = [s.trouble for s in samples if s.trouble]
    values: dict[str, Any] = {
        'MB/s': stat(s.mb_per_s for s in samples),
        'CPU s/GB': stat(s.cpu_s_per_gb for s in samples),
        'CPU us/request': stat(s.cpu_us for s in samples),
        'client busy': stat(s.client_busy for s in samples).median,
        'all in s': stat(s.seconds for s in samples) if burst else None,
        'trouble': troubles[0][:60] if troubles else '',
    }
    return Row(peer, case, values)


def _ratios(samples: dict[tuple[str, str], list[Sample]], report: Report) -> None:
    for (case, peer), ours in samples.items():
        if peer != 'ours':
            continue
        for name in ('nginx', 'falcon'):
            theirs = samples.get((case, name))
            if theirs is None:
                continue
            pairs = list(zip(ours, theirs, strict=True))
            rate = stat(a.mb_per_s / b.mb_per_s for a, b in pairs if b.mb_per_s)
            cpu = stat(a.cpu_s_per_gb / b.cpu_s_per_gb for a, b in pairs)
            report.notes.append(f'{case}: ours / {name}: MB/s {rate}, CPU per GB {cpu}')
        floor = samples.get((case.replace('64K', 'event'), 'falcon'))
        data = samples.get((case, 'nginx'))
        if case.startswith('64K') and floor is not None and data is not None:
            ratio = stat(
                a.cpu_us / (b.cpu_us + c.cpu_us)
                for a, b, c in zip(ours, floor, data, strict=True)
            )
            report.notes.append(
                f"{case}: ours / (Falcon's smallest response + nginx's of the same "
                f'bytes): CPU per request {ratio}'
            )


def _plots(samples: dict[tuple[str, str], list[Sample]]) -> list[Plot]:
    rate: dict[str, list[tuple[object, ...]]] = {}
    cpu: dict[str, list[tuple[object, ...]]] = {}
    paths: dict[str, list[tuple[object, ...]]] = {}
    for (case, peer), found in samples.items():
        spent = stat(s.cpu_s_per_gb for s in found)
        point = (case, spent.median, spent.low, spent.high)
        if case.startswith('paths'):
            bar = (peer, *point[1:])
            paths.setdefault(case.removeprefix('paths '), []).append(bar)
        elif not case.startswith('event'):
            speed = stat(s.mb_per_s for s in found)
            cpu.setdefault(peer, []).append(point)
            rate.setdefault(peer, []).append(
                (case, speed.median, speed.low, speed.high)
            )
    plots = [
        Plot(
            'replay-rate',
            'Replay of finished streams (more is better)',
            'bytes of the stream, concurrency',
            'MB/s',
            rate,
        ),
        Plot(
            'replay-cpu',
            'CPU of replay (less is better)',
            'bytes of the stream, concurrency',
            'server CPU seconds per GB',
            cpu,
        ),
        Plot(
            'replay-paths',
            'Ways to send bytes that are in memory (less is better)',
            'server and path',
            'server CPU seconds per GB',
            paths,
        ),
    ]
    return [plot for plot in plots if plot.series]
