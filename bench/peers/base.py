"""What a peer is: a server, and a writer of live streams for it."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.measure import Process, free_port, tree, wait_port
from bench.report import ROOT

WORKERS = 2


@dataclass
class Session:
    """Live streams, event 0 of each written; and how to read and feed them.

    Attributes:
        port: where the server listens.
        path: as the load client wants it: %s is the stream, %o the byte offset.
        header: further request header, or ''.
        writer: speaks the protocol of ``bench.peers.writer``.
        server: pids of all server processes.
        writers: pids of the processes that write, if they are no server processes.
    """

    port: int
    path: str
    header: str
    writer: Process
    server: Callable[[], list[int]]
    writers: Callable[[], list[int]]

    def go(self, rate: float, seconds: float) -> None:
        """Begin to write at a pace; ``written`` waits for the end of the writing."""
        self.writer.tell(f'go {rate} {seconds}')

    def written(self, wait_s: float) -> dict[str, Any]:
        """What was written: see ``bench.events.Pace.summary``."""
        return self.writer.hear(wait_s)


class Peer(ABC):
    """A server under test. ``start`` it, open ``streams`` on it, ``stop`` it."""

    name: str
    rejoins = True
    """Whether readers can join while events are written."""

    def __init__(self, scratch: Path) -> None:
        self.scratch = scratch
        self.port = 0
        self.processes: list[Process] = []

    @property
    def log(self) -> Path:
        """Where its processes print."""
        return self.scratch / f'{self.name}.log'

    def text(self) -> str:
        """The end of what its processes printed."""
        return self.log.read_text(errors='replace')[-3000:]

    def missing(self) -> str | None:
        """Why it cannot be measured here, or None."""
        return None

    @abstractmethod
    def start(self) -> None:
        """Start the server and wait until it listens."""

    @abstractmethod
    def streams(self, prefix: str, count: int) -> AbstractContextManager[Session]:
        """Make live streams, removed on leaving."""

    def pids(self) -> list[int]:
        """All server processes."""
        return [pid for process in self.processes for pid in tree(process.pid)]

    def stop(self) -> None:
        """End everything that was started; idempotent."""
        while self.processes:
            self.processes.pop().stop()

    def launch(
        self, command: Sequence[str], env: dict[str, str] | None = None
    ) -> Process:
        """Start a server process, to be ended by ``stop``."""
        process = Process(self.name, command, self.log, env=env)
        self.processes.append(process)
        return process

    @contextlib.contextmanager
    def written_by(
        self, kind: str, target: str, prefix: str, count: int, path: str, header: str
    ) -> Iterator[Session]:
        """A session whose streams ``bench.peers.writer`` of that kind writes."""
        command = [sys.executable, '-m', 'bench.peers.writer']
        command += [kind, target, prefix, str(count)]
        with Process(f'writer of {self.name}', command, self.log, talk=True) as writer:
            writer.hear()
            yield Session(
                self.port,
                path,
                header,
                writer,
                self.pids,
                lambda: [writer.pid],
            )
            writer.tell('close')
            with contextlib.suppress(subprocess.TimeoutExpired):
                writer.popen.wait(20)


class GunicornPeer(Peer):
    """An application of this folder under gunicorn's ASGI worker and uvloop."""

    app: str
    workers = WORKERS
    arguments: tuple[str, ...] = ()

    def serve(self, env: dict[str, str] | None = None) -> None:
        """Start gunicorn on a free port."""
        self.port = free_port()
        command = [sys.executable, '-m', 'gunicorn', '--no-control-socket']
        command += ['-c', str(ROOT / 'bench/peers/gunicorn_peer.conf.py')]
        command += ['--bind', f'127.0.0.1:{self.port}']
        command += ['--workers', str(self.workers), *self.arguments, self.app]
        wait_port(self.port, self.launch(command, env))
