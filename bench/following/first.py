"""W4: how long until the first event of an existing stream, connecting included."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from bench.events import finished_stream
from bench.load import load_client
from bench.measure import CpuWindow, Process, interleaved, say, stat
from bench.peers.base import Peer, Session
from bench.peers.nginx import Nginx
from bench.peers.registry import running
from bench.report import Cell, Options, Plot, Report, Row


def run(options: Options, peers: Sequence[Peer], report: Report) -> None:
    """One connection after the other; nginx answers with a file of one event."""
    rounds = options.rounds or (1 if options.quick else 5)
    count = 300 if options.quick else 1000
    samples: dict[str, list[dict[str, Any]]] = {}
    with running(options, [Nginx], report.notes) as more:
        everybody = [peer for peer in (*peers, *more) if peer.name != 'floor']
        for number, peer in interleaved(rounds, everybody):
            with _streams(peer, f'first{number}') as session:
                got = _sample(peer, session, count)
            samples.setdefault(peer.name, []).append(got)
            say(
                f'round {number + 1}/{rounds} W4 {peer.name}: '
                f'p50 {got["first"]["p50_us"]:.0f} p99 {got["first"]["p99_us"]:.0f} us'
            )
    bars: dict[str, list[tuple[object, ...]]] = {}
    for name, found in samples.items():
        p50 = stat(s['first']['p50_us'] for s in found)
        p99 = stat(s['first']['p99_us'] for s in found)
        values: dict[str, Cell] = {
            'p50 us': p50,
            'p99 us': p99,
            'CPU us/request': stat(s['cpu_us'] for s in found),
            'trouble': found[0]['error'][:60],
        }
        report.rows.append(Row(name, 'W4 first event', values))
        bars[name] = [
            (label, value.median, value.low, value.high)
            for label, value in (('p50', p50), ('p99', p99))
        ]
    for name in ('nchan', 'nginx', 'inproc', 'redis'):
        _ratio(samples, name, report)
    report.plots.append(
        Plot(
            'follow-first',
            'First event of a stream, new connection (less is better)',
            'percentile',
            'us',
            bars,
        )
    )


def _ratio(samples: dict[str, list[dict[str, Any]]], name: str, report: Report) -> None:
    if 'ours' not in samples or name not in samples:
        return
    pairs = list(zip(samples['ours'], samples[name], strict=True))
    p50, p99 = (
        stat(a['first'][key] / b['first'][key] for a, b in pairs if b['first'][key])
        for key in ('p50_us', 'p99_us')
    )
    report.notes.append(f'W4: ours / {name}: p50 {p50}, p99 {p99}')


@contextmanager
def _streams(peer: Peer, prefix: str) -> Iterator[Session | None]:
    if isinstance(peer, Nginx) and peer.name == Nginx.name:
        (peer.files / 'first').write_bytes(finished_stream(200))
        yield None
        return
    with peer.streams(prefix, 1) as session:
        yield session


def _sample(peer: Peer, session: Session | None, count: int) -> dict[str, Any]:
    port = peer.port if session is None else session.port
    path = '/first' if session is None else session.path
    header = '' if session is None else session.header
    command = [str(load_client()), 'first', '127.0.0.1', str(port), '--path', path]
    command += ['--header', header, '--count', str(count)]
    cpu = CpuWindow(server=peer.pids)
    with Process('load', command, peer.log, talk=True) as client:
        got = client.hear(60)
    got['cpu_us'] = cpu.read()['server'] / max(got['requests'], 1) * 1e6
    return got
