"""What does the ring cost between an upstream and its client?

A small fast upstream (bench/native/upstream.c) streams events of 200 bytes in chunks
of their own; clients (drink.c) read them through a proxy and check each. The proxies:
shmstream (each answer is a session in its ring), a plain pass-through in the same
server (Falcon, aiohttp, gunicorn's ASGI worker, uvloop, no ring) and nginx's proxy_pass
without buffering; "direct" has no proxy. Added latency is how much older an event is
when it has come through the proxy; CPU is that of all the proxy's processes, per event.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from typing import Any

from bench.measure import Scratch, interleaved, say, stat
from bench.native.build import Missing
from bench.parts.relaying import PROXIES, Load, drink, model
from bench.peers.base import Peer
from bench.report import Options, Plot, Report, Row, Stat

TARGET = 1.5

Samples = dict[tuple[str, str], list[dict[str, float]]]
Stats = dict[tuple[str, str], dict[str, Stat]]


def _loads(options: Options) -> list[Load]:
    seconds = options.seconds or (2 if options.quick else 5)
    if options.streams or options.rate:
        rates = options.rate or (40,)
        return [Load(options.streams or 50, int(rate), seconds) for rate in rates]
    return [Load(10, 20, seconds), Load(100, 40, seconds)]


def run(options: Options) -> Report:
    """Measure every load in interleaved rounds."""
    report = Report('proxy', 'an event of 200 B from upstream to client')
    rounds = options.rounds or (1 if options.quick else 5)
    samples: Samples = {}
    loads = _loads(options)
    for load in loads:
        try:
            _measure(load, rounds, options, samples, report)
        except Missing as ex:
            report.notes.append(f'skipped: {ex}')
            return report
    stats = {
        key: {name: stat(one[name] for one in found) for name in found[0]}
        for key, found in samples.items()
    }
    for (case, name), values in stats.items():
        direct = stats.get((case, 'direct'))
        cells: dict[str, Stat | float | str | None] = {
            'p50 us': values['p50_us'],
            'p99 us': values['p99_us'],
            'added p50 us': values['p50_us'].median - direct['p50_us'].median
            if direct
            else None,
            'CPU us/event': None if name == 'direct' else values['cpu_us'],
        }
        report.rows.append(Row(name, case, cells))
    report.notes += _verdict(loads, stats)
    report.plots = [
        _plot(stats, 'cpu_us', 'CPU us per event', 'What a proxy costs'),
        _plot(stats, 'p50_us', 'age at the client, us', 'How late an event is, p50'),
    ]
    return report


def _measure(
    load: Load, rounds: int, options: Options, samples: Samples, report: Report
) -> None:
    with ExitStack() as stack:
        scratch = stack.enter_context(Scratch())
        upstream = stack.enter_context(model(load))
        peers: list[Peer] = []
        for name, make in PROXIES.items():
            if not options.wants(name):
                continue
            peer = make(scratch, upstream)
            if (why := peer.missing()) is not None:
                report.notes.append(f'skipped: {name}, {why}')
                continue
            stack.callback(peer.stop)
            peer.start()
            peers.append(peer)
        for number, peer in interleaved(rounds, peers):
            say(f'{load}, round {number + 1} of {rounds}: {peer.name}')
            found = drink(peer, load, f'{load.connections}-{number}')
            samples.setdefault((str(load), peer.name), []).append(found)


def _verdict(loads: Sequence[Load], stats: Stats) -> list[str]:
    lines = []
    for load in map(str, loads):
        ours, plain = stats.get((load, 'ours')), stats.get((load, 'pass-through'))
        if ours and plain:
            mine, theirs = ours['cpu_us'].median, plain['cpu_us'].median
            lines.append(
                f'T13, {load}: {mine:.0f} us of CPU per event are {mine / theirs:.2f}'
                f' times the plain pass-through (target {TARGET})'
            )
    return lines


def _plot(stats: Stats, part: str, y: str, title: str) -> Plot:
    series: dict[str, Sequence[tuple[Any, ...]]] = {}
    for (case, name), values in stats.items():
        if part != 'cpu_us' or name != 'direct':
            found = values[part]
            point = (case, found.median, found.low, found.high)
            series[name] = [*series.get(name, ()), point]
    return Plot(
        name=f'proxy-{part.partition("_")[0]}',
        title=title,
        x='answers at one time, and events per second of each',
        y=y,
        series=series,
    )
