"""What does a deployment take: before anything happens, and for each answer?

``python -m shmstream doctor --plan`` adds these figures up, with those of ``scale``.
Memory is that of all processes (private, proportional) and that of the segments, each
page counted once; figures are slopes between two populations.
"""

from __future__ import annotations

import socket
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from bench.measure import Scratch, free_port, say, stat, wait_port
from bench.native.build import Missing, build
from bench.parts.population import Size, blocks_kib, descriptors, private_kib
from bench.parts.relaying import EVENT_BYTES, PATH, running
from bench.peers.ours import Ours
from bench.report import ROOT, Options, Report, Row

FEW, MANY = 2, 6
"""Workers of the deployments of which one worker is the difference."""

ANSWER_BYTES = 20_000
SETTLE_S = 1.0

Found = dict[str, float]


class Proxying(Ours):
    """The service as it is shipped, in front of an upstream."""

    def __init__(self, scratch: Path, upstream: int, workers: int) -> None:
        super().__init__(scratch)
        self.workers = workers
        self._upstream = upstream

    def start(self) -> None:
        self.port = free_port()
        command = [sys.executable, str(Path(sys.executable).parent / 'gunicorn')]
        command += ['-c', str(ROOT / 'gunicorn.conf.py'), '--no-control-socket']
        command += ['--bind', f'127.0.0.1:{self.port}']
        command += ['--workers', str(self.workers)]
        env = {
            'SHMSTREAM_DIR': str(self.directory),
            'SHMSTREAM_UPSTREAM': f'http://127.0.0.1:{self._upstream}',
            'GUNICORN_CMD_ARGS': '',
        }
        wait_port(self.port, self.launch(command, env))

    def size(self) -> Size:
        """What it has once it has settled."""
        time.sleep(SETTLE_S)
        pids = self.pids()
        return Size(private_kib(pids), blocks_kib(self.directory), descriptors(pids))


def run(options: Options) -> Report:
    """Measure idle deployments, and then answers."""
    report = Report('sizes', 'what a deployment takes')
    samples: dict[str, list[float]] = {}
    try:
        for number in range(options.rounds or (1 if options.quick else 3)):
            say(f'round {number + 1}')
            with _upstream() as port:
                for name, value in _figures(port, options.quick).items():
                    samples.setdefault(name, []).append(value)
    except Missing as ex:
        report.notes.append(f'skipped: {ex}')
    for name, values in samples.items():
        report.rows.append(Row('ours', name, {'figure': stat(values)}))
    return report


def _figures(upstream: int, quick: bool) -> Found:
    sizes = {}
    found: Found = {}
    for workers in (FEW, MANY):
        with Scratch() as scratch, ExitStack() as stack:
            service = Proxying(scratch, upstream, workers)
            stack.callback(service.stop)
            service.start()
            sizes[workers] = service.size()
            if workers == FEW:
                found |= _answers(service, quick)
    worker = sizes[MANY].per(sizes[FEW], MANY - FEW)
    rest = sizes[FEW].per(Size(0, 0, 0), 1)
    return {
        'a worker, KiB': worker.own + worker.segments,
        'a worker, descriptors of all processes': worker.descriptors,
        'master and supervisor, KiB': rest.own
        + rest.segments
        - FEW * (worker.own + worker.segments),
        **found,
    }


def _answers(service: Proxying, quick: bool) -> Found:
    """Answers whose clients stay, and the same answers once these have left."""
    first, more = (50, 100) if quick else (200, 600)
    clients: list[socket.socket] = []
    try:
        _ask(service, clients, first)
        before = service.size()
        _ask(service, clients, more)
        with_client = service.size()
    finally:
        for client in clients:
            client.close()
    # As many answers, whose clients have left.
    left = service.size()
    per = with_client.per(before, more)
    gone = with_client.per(left, first + more)
    return {
        'a live answer of 20 KB with its client, KiB': per.own + per.segments,
        'a live answer, KiB of segment': per.segments,
        'a live answer with its client, descriptors': per.descriptors,
        'of it the client, KiB given back when it leaves': gone.own,
        'of it the client, descriptors': gone.descriptors,
    }


def _ask(service: Proxying, clients: list[socket.socket], count: int) -> None:
    for _ in range(count):
        client = socket.create_connection(('127.0.0.1', service.port), timeout=60)
        clients.append(client)
        body = b'{"stream": true}'
        client.sendall(
            f'POST {PATH} HTTP/1.1\r\nHost: bench\r\nContent-Length: {len(body)}\r\n'
            f'X-Conversation-Id: {len(clients)}\r\n\r\n'.encode()
            + body
        )
        seen = 0
        while seen < ANSWER_BYTES:
            data = client.recv(1 << 16)
            if not data:
                raise RuntimeError('an answer has ended')
            seen += len(data)


@contextmanager
def _upstream() -> Iterator[int]:
    events = ANSWER_BYTES // EVENT_BYTES
    numbers = map(str, (0, events, 0, EVENT_BYTES))
    with running([build('upstream.c'), *numbers, 'hold']) as process:
        assert process.stdout is not None
        yield int(process.stdout.readline())
