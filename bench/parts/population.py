"""Sessions and followers in our service, and the memory and files that it uses."""

from __future__ import annotations

import contextlib
import http.client
import os
import socket
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from bench.measure import free_port, wait_port
from bench.parts.holding import PATH
from bench.peers.ours import Ours
from bench.report import ROOT

_BATCH = 50
_REPLAYS = 60


@dataclass(frozen=True)
class Size:
    """What all processes of a service have.

    Attributes:
        own: KiB of the processes' own memory (proportional), code and libraries too.
        segments: KiB that the segments take in shared memory, each page counted once.
        descriptors: open files.
    """

    own: float
    segments: float
    descriptors: float

    def per(self, before: Size, count: int) -> Size:
        """What each of ``count`` takes that were added since ``before``."""
        return Size(
            (self.own - before.own) / count,
            (self.segments - before.segments) / count,
            (self.descriptors - before.descriptors) / count,
        )

    def figures(self, what: str) -> dict[str, float]:
        """As lines of the table."""
        return {
            f'{what}, KiB': self.own + self.segments,
            f'{what}, KiB of segment': self.segments,
            f'{what}, descriptors': self.descriptors,
        }


def private_kib(pids: Iterable[int]) -> float:
    """Proportional set size without shared memory, which is counted by segments."""
    total = 0
    for pid in pids:
        with contextlib.suppress(OSError):
            for line in Path(f'/proc/{pid}/smaps_rollup').read_text().splitlines():
                if line.startswith(('Pss_Anon:', 'Pss_File:')):
                    total += int(line.split()[1])
    return total


def blocks_kib(directory: Path) -> float:
    """What the files below a directory take, in KiB."""
    total = 0
    for folder, _, files in os.walk(directory):
        for name in files:
            with contextlib.suppress(OSError):
                total += os.stat(os.path.join(folder, name)).st_blocks
    return total / 2


def descriptors(pids: Iterable[int]) -> int:
    """Open files of these processes."""
    total = 0
    for pid in pids:
        with contextlib.suppress(OSError):
            total += len(os.listdir(f'/proc/{pid}/fd'))
    return total


class HoldingService(Ours):
    """The service with the route of ``holding``: its workers make sessions."""

    name = 'ours, holding'

    def start(self) -> None:
        self.port = free_port()
        command = [sys.executable, str(Path(sys.executable).parent / 'gunicorn')]
        command += ['-c', str(ROOT / 'gunicorn.conf.py'), '--no-control-socket']
        command += ['--bind', f'127.0.0.1:{self.port}']
        command += ['--workers', str(self.workers), 'bench.parts.holding:create_app()']
        env = {
            'SHMSTREAM_DIR': str(self.directory),
            'SHMSTREAM_MAX_SESSIONS': '20000',
            'GUNICORN_CMD_ARGS': '',
        }
        wait_port(self.port, self.launch(command, env))

    def size(self) -> Size:
        """What the service has now."""
        pids = self.pids()
        own, segments = private_kib(pids), blocks_kib(self.directory)
        return Size(own, segments, descriptors(pids))

    def _ask(self, method: str, target: str) -> tuple[http.client.HTTPResponse, bytes]:
        connection = http.client.HTTPConnection('127.0.0.1', self.port, timeout=60)
        try:
            connection.request(method, target, headers={'Connection': 'close'})
            answer = connection.getresponse()
            content = answer.read()
        finally:
            connection.close()
        if answer.status != 200:
            raise RuntimeError(f'{method} {target}: {answer.status} {content[:200]!r}')
        return answer, content

    def make(
        self, prefix: str, first: int, count: int, size: int, finish: bool = False
    ) -> None:
        """Make sessions of ``size`` bytes, in any worker."""
        for at in range(first, first + count, _BATCH):
            batch = min(_BATCH, first + count - at)
            query = f'prefix={prefix}&first={at}&count={batch}&bytes={size}'
            self._ask('POST', f'{PATH}?{query}&finish={str(finish).lower()}')

    def replay_everywhere(self, name: str, size: int) -> None:
        """Read a finished session until each worker has served it."""
        served: set[str | None] = set()
        for _ in range(_REPLAYS):
            answer, content = self._ask('GET', f'/v1/stream/{name}')
            if len(content) != size:
                raise RuntimeError(f'{name}: {len(content)} bytes of {size}')
            served.add(answer.getheader('Stream-Worker'))
            if len(served) == self.workers:
                return
        raise RuntimeError(f'{name}: only {len(served)} of {self.workers} workers')


class Followers:
    """Connections that follow and read no further than their first bytes."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._sockets: list[socket.socket] = []

    def add(self, targets: Iterable[str]) -> None:
        """Add a follower for each target; returns when all responses have begun."""
        added = []
        for target in targets:
            peer = socket.create_connection(('127.0.0.1', self._port), timeout=30)
            self._sockets.append(peer)
            peer.sendall(f'GET {target} HTTP/1.1\r\nHost: bench\r\n\r\n'.encode())
            added.append(peer)
            if len(added) >= _BATCH:
                self._wait(added)
                added = []
        self._wait(added)

    @staticmethod
    def _wait(peers: list[socket.socket]) -> None:
        for peer in peers:
            # A small buffer is enough: each follower begins at the stream's end.
            if not peer.recv(4096).startswith(b'HTTP/1.1 200'):
                raise RuntimeError('a follower was refused')

    def close(self) -> None:
        """Hang up."""
        for peer in self._sockets:
            peer.close()
        self._sockets.clear()
