"""What open followers cost while nothing happens: CPU and memory."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from bench.load import load_client
from bench.measure import CpuWindow, Process, pss_kib, say, stat
from bench.peers.base import Peer
from bench.report import Cell, Options, Report, Row

STREAMS, READERS = 100, 100


def run(options: Options, peers: Sequence[Peer], report: Report) -> None:
    """10,000 followers of 100 streams: CPU of all server processes, before and with."""
    seconds = options.seconds or (5.0 if options.quick else 10.0)
    rounds = options.rounds or (1 if options.quick else 3)
    streams = options.streams or STREAMS
    readers = options.readers or READERS
    for peer in peers:
        if peer.name == 'floor':
            continue
        found = [
            _measure(peer, f'idle{n}', streams, readers, seconds) for n in range(rounds)
        ]
        values: dict[str, Cell] = {
            '% of a core': stat(100 * cpu for cpu, *_ in found),
            '% without': stat(100 * before for _, before, *_ in found),
            'KiB/follower': stat(kib for _, _, kib, _ in found),
            'trouble': next((why for *_, why in found if why), ''),
        }
        case = f'idle {streams}x{readers}'
        report.rows.append(Row(peer.name, case, values))
        say(f'{case} {peer.name}: {values["% of a core"]} % of a core')


def _measure(
    peer: Peer, prefix: str, streams: int, readers: int, seconds: float
) -> tuple[float, float, float, str]:
    """Cores used with followers and without, KiB per follower, and what went wrong."""
    total = streams * readers
    with peer.streams(prefix, streams) as session:
        time.sleep(0.5)
        before = _cores(session.server, min(seconds, 3.0))
        memory = pss_kib(session.server())
        command = [str(load_client()), 'follow', '127.0.0.1', str(session.port)]
        command += ['--path', session.path, '--header', session.header]
        command += ['--streams', str(streams), '--readers', str(readers)]
        with Process('load', command, peer.log, talk=True) as client:
            joined = client.hear(60)
            time.sleep(1.5)
            during = _cores(session.server, seconds)
            each = (pss_kib(session.server()) - memory) / total
            why = '' if joined['ready'] == total else str(joined)[:60]
            return during, before, each, why


def _cores(pids: Callable[[], list[int]], seconds: float) -> float:
    window = CpuWindow(server=pids)
    began = time.monotonic()
    time.sleep(seconds)
    return window.read()['server'] / (time.monotonic() - began)
