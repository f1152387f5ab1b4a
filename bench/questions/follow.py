"""Live streams: CPU per event, latency, highest rate held, first event, idle cost.

Workloads, for ``--workload``; ``--rate``, ``--streams`` and ``--readers`` change them:

    W2       fan-out, 1 stream with 200 followers
    W3       200 streams with 1 follower each
    W4       the first event of a live stream, on a new connection
    readers  1 stream, 10 to 5,000 followers
    streams  10 to 2,000 streams, 1 follower each
    mixed    500 streams with 3 followers each, 50 per second leave and come back
    W2held   the highest rate of W2 (doubling) with p99 under 50 ms and nothing lost
    W3held   the same of W3
    idle     10,000 open followers of streams to which nothing happens

With ``--quick`` and no ``--workload``: W2, W3 and W4, at one rate.
"""

from __future__ import annotations

from bench.following import costs, first, held, idle
from bench.peers.registry import LIVE, running
from bench.report import Options, Report

QUICK = ('W2', 'W3', 'W4')


def run(options: Options) -> Report:
    """Measure what was asked for."""
    report = Report('follow', 'live streams: events of 200 bytes, every byte checked')

    def wants(name: str) -> bool:
        if options.quick and not options.workload:
            return name in QUICK
        return options.wants_workload(name)

    with running(options, LIVE, report.notes) as peers:
        costs.run(options, [n for n in costs.WORKLOADS if wants(n)], peers, report)
        if wants('W4'):
            first.run(options, peers, report)
        held.run(options, [n for n in ('W2', 'W3') if wants(f'{n}held')], peers, report)
        if wants('idle'):
            idle.run(options, peers, report)
    return report
