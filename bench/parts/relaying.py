"""Proxies, with a model behind them and clients in front of them."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from unittest.mock import patch

from bench.measure import cpu_s
from bench.native.build import build
from bench.parts import pass_through
from bench.peers.base import GunicornPeer, Peer, Session
from bench.peers.nginx import Nginx
from bench.peers.ours import Ours

EVENT_BYTES = 200
PATH = '/v1/chat/completions'
TALK_S = 60


@dataclass(frozen=True)
class Load:
    """How much is streamed.

    Attributes:
        connections: answers at the same time.
        per_second: events per second of each answer.
        seconds: how long each answer lasts.
    """

    connections: int
    per_second: int
    seconds: float

    @property
    def events(self) -> int:
        """Events of one answer."""
        return round(self.per_second * self.seconds)

    def __str__(self) -> str:
        return f'{self.connections} x {self.per_second}/s'


@contextmanager
def running(command: list[str | Path]) -> Iterator[subprocess.Popen[str]]:
    """Run a program whose first line is to be read; it is killed at the end."""
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait()
        assert process.stdout is not None
        process.stdout.close()


@contextmanager
def model(load: Load) -> Iterator[int]:
    """Run a model that answers everything as ``load`` says; yields its port."""
    numbers = (0, load.events, load.per_second, EVENT_BYTES)
    with running([build('upstream.c'), *map(str, numbers)]) as process:
        assert process.stdout is not None
        yield int(process.stdout.readline())


class NoStreams(Peer):
    """A peer that has no streams but those of its upstream."""

    def streams(self, prefix: str, count: int) -> AbstractContextManager[Session]:
        raise NotImplementedError('streams are those of the upstream')


class Direct(NoStreams):
    """No proxy: the client asks the upstream itself."""

    name = 'direct'

    def __init__(self, scratch: Path, upstream: int) -> None:
        super().__init__(scratch)
        self.port = upstream

    def start(self) -> None:
        pass


class OursProxy(Ours):
    """The service as it is shipped, in front of the upstream."""

    name = 'ours'

    def __init__(self, scratch: Path, upstream: int) -> None:
        super().__init__(scratch)
        self._upstream = upstream

    def start(self) -> None:
        url = f'http://127.0.0.1:{self._upstream}'
        with patch.dict(os.environ, SHMSTREAM_UPSTREAM=url):
            super().start()


class PassThrough(GunicornPeer, NoStreams):
    """The same server and the same HTTP client, without a ring."""

    name = 'pass-through'
    app = 'bench.parts.pass_through:create_app()'

    def __init__(self, scratch: Path, upstream: int) -> None:
        super().__init__(scratch)
        self._upstream = upstream

    def start(self) -> None:
        self.serve({pass_through.UPSTREAM: f'http://127.0.0.1:{self._upstream}'})


class NginxProxy(Nginx):
    """proxy_pass without buffering, connections to the upstream kept."""

    name = 'nginx'
    server = (
        'location / { proxy_pass http://model; proxy_buffering off;'
        ' proxy_http_version 1.1; proxy_set_header Connection ""; }'
    )

    def __init__(self, scratch: Path, upstream: int) -> None:
        super().__init__(scratch)
        self._upstream = upstream

    def globals(self) -> str:
        return f'upstream model {{ server 127.0.0.1:{self._upstream}; keepalive 512; }}'


PROXIES: dict[str, Callable[[Path, int], Peer]] = {
    'direct': Direct,
    'nginx': NginxProxy,
    'pass-through': PassThrough,
    'ours': OursProxy,
}


def drink(peer: Peer, load: Load, name: str) -> dict[str, float]:
    """Read all answers of a load through the proxy; return what an event costs.

    Returns:
        p50_us and p99_us, the age of an event when the client has it; cpu_us, CPU
        microseconds of the proxy's processes per event; events, how many were measured.

    Raises:
        RuntimeError: an event was missing, damaged or doubled.
    """
    # Begun one after the other within a period: events do not come all at once.
    gap_us = round(1e6 / load.per_second / load.connections)
    numbers = (peer.port, load.connections, load.events, EVENT_BYTES, gap_us)
    program: list[str | Path] = [build('drink.c')]
    command = [*program, *map(str, numbers), 'POST', PATH, name]
    with running(command) as process:
        assert process.stdout is not None
        counts, costs = [], []
        for word in ('open', 'end'):
            line = process.stdout.readline().split()
            if line[:1] != [word]:
                raise RuntimeError(f'{peer.name}: the client gave up, {line}')
            counts.append(int(line[1]))
            costs.append(cpu_s(peer.pids()))
        rest = process.stdout.readline().split()
        if process.wait(TALK_S) or rest[:1] != ['latency']:
            raise RuntimeError(f'{peer.name}: the client gave up')
    events = counts[1] - counts[0]
    return {
        'p50_us': float(rest[2]),
        'p99_us': float(rest[3]),
        'cpu_us': (costs[1] - costs[0]) * 1e6 / events,
        'events': events,
    }
