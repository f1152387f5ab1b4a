"""The floor: what the ``write`` calls alone cost in the kernel."""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.load import build
from bench.measure import Process, free_port
from bench.peers.base import Peer, Session


class Floor(Peer):
    """A C program that is both server and writer (floor.c); one for each session."""

    name = 'floor'
    rejoins = False

    def start(self) -> None:
        build(Path(__file__).with_suffix('.c'))

    @contextmanager
    def streams(self, prefix: str, count: int) -> Iterator[Session]:
        port = free_port()
        program = build(Path(__file__).with_suffix('.c'))
        command = [str(program), str(port)]
        with Process(self.name, command, self.log, talk=True) as server:
            server.hear()
            path = f'/{prefix}/%s'
            yield Session(port, path, '', server, lambda: [server.pid], lambda: [])
            server.tell('close')
            with contextlib.suppress(subprocess.TimeoutExpired):
                server.popen.wait(5)
