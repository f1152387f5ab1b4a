"""The highest rate that a peer holds: p99 under 50 ms, and nothing lost or torn."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from bench.driving import Sample, Shape, window
from bench.measure import say, stat
from bench.peers.base import Peer
from bench.report import Cell, Options, Plot, Report, Row

SHAPES = {'W2': Shape(1, 200, 50), 'W3': Shape(200, 1, 20)}
HIGHEST = {'W2': 51_200.0, 'W3': 5_120.0}


def run(
    options: Options, workloads: Sequence[str], peers: Sequence[Peer], report: Report
) -> None:
    """Double the rate until it is not held in two attempts; median of the rounds."""
    rounds = options.rounds or 1
    bars: dict[str, list[tuple[object, ...]]] = {}
    for workload in workloads:
        found: dict[str, list[tuple[float, str, Sample | None]]] = {}
        for _ in range(rounds):
            for peer in peers:
                result = _search(options, workload, peer)
                found.setdefault(peer.name, []).append(result)
        for name, results in found.items():
            rate = stat(best for best, _, _ in results)
            last = [sample for _, _, sample in results if sample is not None]
            values: dict[str, Cell] = {
                'held events/s': rate,
                'p99 ms': stat(s.p99_ms for s in last),
                'CPU s/M with writer': stat(s.total_s for s in last),
                'ended by': results[0][1],
            }
            report.rows.append(Row(name, f'{workload} held', values))
            bar = (f'{workload} held', rate.median, rate.low, rate.high)
            bars.setdefault(name, []).append(bar)
    if bars:
        report.plots.append(
            Plot(
                'follow-held',
                'Highest rate held: p99 under 50 ms, nothing lost (more is better)',
                'workload',
                'events/s of each stream',
                bars,
                log_y=True,
            )
        )


def _search(
    options: Options, workload: str, peer: Peer
) -> tuple[float, str, Sample | None]:
    """Highest rate, what ended the search, and the sample of the highest rate."""
    seconds = options.seconds or 2.0
    rate = options.rate[0] if options.rate else SHAPES[workload].rate
    best, last, limit = 0.0, None, 'no higher rate was tried'
    while rate <= HIGHEST[workload]:
        shape = dataclasses.replace(SHAPES[workload], rate=rate)
        sample = window(peer, shape, seconds, 0.7)
        if not sample.held:
            sample = window(peer, shape, seconds, 0.7)
        say(
            f'{workload} {peer.name} {rate:g}/s: p99 {sample.p99_ms:.1f} ms, '
            f'{sample.delivered:.0%} delivered, '
            f'{"held" if sample.held else "not held"} {sample.trouble}'
        )
        if not sample.held:
            limit = f'{rate:g}/s: p99 {sample.p99_ms:.0f} ms {sample.trouble}'[:60]
            break
        best, last, rate = rate, sample, rate * 2
    return best, limit, last
