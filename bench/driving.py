"""One measured window of live streams: a peer, a writer and the load client."""

from __future__ import annotations

import itertools
import time
from dataclasses import dataclass
from typing import Any

from bench.load import load_client
from bench.measure import CpuWindow, Process, say
from bench.peers.base import Peer

HELD_P99_MS = 50.0

_runs = itertools.count(1)


@dataclass(frozen=True)
class Shape:
    """A workload: how many streams, readers of each, and how lively.

    Attributes:
        streams: live streams.
        readers: of each stream.
        rate: events per second and stream.
        churn: readers per second that leave and come back at their offset.
    """

    streams: int
    readers: int
    rate: float
    churn: int = 0

    @property
    def events_per_s(self) -> float:
        """Events per second that a server delivers which keeps up."""
        return self.streams * self.readers * self.rate


@dataclass(frozen=True)
class Sample:
    """What was measured in one window.

    Attributes:
        server_s: CPU seconds of the server's processes per million events delivered.
        writer_s: the same of a writer outside of the server.
        client_busy: share of a core that the load client used.
        delivered: events delivered, as a part of those that the rate asks for.
        clean: whether nothing was lost, torn, cut or refused.
        trouble: the first thing that went wrong, or ''.
    """

    server_s: float
    writer_s: float
    p50_ms: float
    p99_ms: float
    max_ms: float
    events_per_s: float
    delivered: float
    client_busy: float
    late_ms: float
    clean: bool
    trouble: str

    @property
    def total_s(self) -> float:
        """CPU seconds per million events, writer included."""
        return self.server_s + self.writer_s

    @property
    def held(self) -> bool:
        """Whether the peer can carry this rate."""
        return self.clean and self.p99_ms < HELD_P99_MS and self.delivered > 0.97


def window(peer: Peer, shape: Shape, seconds: float, warm_s: float = 1.0) -> Sample:
    """Measure one window; a peer that fails gives a sample that is not clean."""
    try:
        return _window(peer, shape, seconds, warm_s)
    except RuntimeError as ex:
        # The load client, a writer or the server has ended, or did not answer.
        say(str(ex)[-600:])
        return _failed(' '.join(str(ex).split())[:200])


def _window(peer: Peer, shape: Shape, seconds: float, warm_s: float) -> Sample:
    with peer.streams(f'r{next(_runs)}', shape.streams) as session:
        command = [str(load_client()), 'follow', '127.0.0.1', str(session.port)]
        command += ['--path', session.path, '--header', session.header]
        command += ['--streams', str(shape.streams), '--readers', str(shape.readers)]
        command += ['--churn', str(shape.churn)]
        with Process('load', command, peer.log, talk=True) as client:
            joined = client.hear(60)
            if joined['ready'] < shape.streams * shape.readers:
                say(peer.text()[-600:])
                return _failed(f'not all could join: {joined}')
            session.go(shape.rate, warm_s + seconds + 0.3)
            time.sleep(warm_s)
            client.tell('begin')
            cpu = CpuWindow(server=session.server, writer=session.writers)
            time.sleep(seconds)
            client.tell('end')
            used = cpu.read()
            written = session.written(30 + 2 * seconds)
            client.tell(f'stop {int(written["per_stream"]) + 1}')
            got = client.hear(60)
            return _sample(shape, used, written, got)


def _failed(trouble: str) -> Sample:
    nan = float('nan')
    return Sample(nan, nan, nan, nan, nan, 0, 0, nan, nan, False, trouble)


def _sample(
    shape: Shape,
    used: dict[str, float],
    written: dict[str, Any],
    got: dict[str, Any],
) -> Sample:
    millions = max(got['window_events'], 1) / 1e6
    lost = got['least'] < written['per_stream'] + 1
    bad = {k: got[k] for k in ('torn', 'cut', 'refused') if got[k]}
    trouble = ''
    if lost or bad:
        behind = f'{got["least"]} of {int(written["per_stream"]) + 1} events'
        trouble = f'{bad or ""} {behind if lost else ""} {got["error"]}'.strip()
    expected = shape.events_per_s * got['seconds']
    return Sample(
        server_s=used['server'] / millions,
        writer_s=used['writer'] / millions,
        p50_ms=got['latency']['p50_us'] / 1000,
        p99_ms=got['latency']['p99_us'] / 1000,
        max_ms=got['latency']['max_us'] / 1000,
        events_per_s=got['window_events'] / got['seconds'],
        delivered=got['window_events'] / expected,
        client_busy=got['client_cpu_s'] / got['seconds'],
        late_ms=written['late_ms'],
        clean=not trouble,
        trouble=trouble,
    )
