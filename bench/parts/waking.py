"""A writer in one process and a reader in another: how old is a chunk when it is read?

Every chunk begins with the monotonic time at which it was written; the last byte of the
last chunk of a series is zero.
"""

from __future__ import annotations

import asyncio
import mmap
import os
import random
import struct
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing import reduction
from pathlib import Path
from typing import Any

import posix_ipc
import uvloop

from bench.parts.children import Line, child, hear
from bench.parts.redis import Client, Server
from shmstream import Streams

SIZE = 200
CAPACITY = 32 << 20
"""A reader that the machine does not let run must not be overtaken."""

IDLE_S = (0.006, 0.02)
"""Between two writes to an idle reader: more than it takes to fall asleep again."""

_SLOTS = 65536

_STAMP = struct.Struct('<q')
_FILLER = b'x' * (SIZE - _STAMP.size)
_LAST = b'x' * (SIZE - _STAMP.size - 1) + b'\0'

Write = Callable[[bytes], object]
Summary = dict[str, float]


def write_series(write: Write, per_second: int, count: int) -> None:
    """Write ``count`` chunks at a pace; 0 per second: one now and then."""
    pack, now_ns = _STAMP.pack, time.monotonic_ns
    # The same pauses in every round.
    rng = random.Random(count)
    due = time.monotonic()
    for number in range(count):
        if per_second:
            due += 1 / per_second
            left = due - time.monotonic()
            if left > 0:
                time.sleep(left)
        else:
            time.sleep(rng.uniform(*IDLE_S))
        write(pack(now_ns()) + (_LAST if number == count - 1 else _FILLER))


def percentile(ordered: list[float], part: float) -> float:
    """The value below which this part of the sorted ones lies."""
    return ordered[min(int(len(ordered) * part), len(ordered) - 1)]


class Sink:
    """Takes what the reader gets; says a summary at the end of each series."""

    def __init__(self, line: Line) -> None:
        self._line = line
        self._got: list[tuple[int, bytes]] = []
        self._cpu_ns = time.process_time_ns()

    def take(self, data: bytes) -> None:
        """Bytes have come."""
        self._got.append((time.monotonic_ns(), data))
        if not data[-1]:
            self._line.send(self._summary())
            self._got.clear()
            self._cpu_ns = time.process_time_ns()

    def _summary(self) -> Summary:
        cpu_ns = time.process_time_ns() - self._cpu_ns
        whole = b''.join(data for _, data in self._got)
        stamps = [_STAMP.unpack_from(whole, at)[0] for at in range(0, len(whole), SIZE)]
        ages, end, number = [], 0, 0
        for came, data in self._got:
            end += len(data)
            # A chunk is here when its last byte is.
            while (number + 1) * SIZE <= end:
                ages.append((came - stamps[number]) / 1000)
                number += 1
        ages.sort()
        return {
            'p50': percentile(ages, 0.5),
            'p99': percentile(ages, 0.99),
            'count': len(ages),
            'per_second': len(ages) / max((stamps[-1] - stamps[0]) / 1e9, 1e-9),
            'reader_cpu_us': cpu_ns / 1000 / len(ages),
        }


# -- readers, in the other process ---------------------------------------------------


def read_in_thread(line: Line, directory: str) -> None:
    sink = Sink(line)
    with Streams.attach(directory) as streams:
        follower = streams.open('wake').follow()
        line.send('ready')
        for data in follower:
            sink.take(data)


def read_on_loop(line: Line, directory: str, kind: str) -> None:
    sink = Sink(line)

    async def read(streams: Streams) -> None:
        follower = streams.open('wake').follow()
        line.send('ready')
        async for data in follower:
            sink.take(data)

    factory = uvloop.new_event_loop if kind == 'uvloop' else asyncio.new_event_loop
    with (
        Streams.attach(directory) as streams,
        asyncio.Runner(loop_factory=factory) as runner,
    ):
        runner.run(read(streams))


def read_pipe(line: Line, read_end: Any) -> None:
    sink = Sink(line)
    fd = read_end.detach()
    line.send('ready')
    while data := os.read(fd, 300 * SIZE):
        sink.take(data)


def read_published(line: Line, path: str) -> None:
    sink = Sink(line)
    client = Client(Path(path))
    client.ask(b'SUBSCRIBE', b'wake')
    line.send('ready')
    while True:
        message = client.receive()
        assert isinstance(message, list)
        assert isinstance(message[2], bytes)
        if message[2] == b'end':
            return
        sink.take(message[2])


def read_stream(line: Line, path: str) -> None:
    sink = Sink(line)
    client = Client(Path(path))
    line.send('ready')
    last = b'0-0'
    while True:
        reply: Any = client.ask(b'XREAD', b'BLOCK', b'0', b'STREAMS', b'wake', last)
        entries = reply[0][1]
        last = entries[-1][0]
        for _, (_, chunk) in entries:
            if chunk == b'end':
                return
            sink.take(chunk)


def read_posted(line: Line, name: str, path: str) -> None:
    sink = Sink(line)
    posted = posix_ipc.Semaphore(name)
    with open(path, 'rb') as file:
        shared = mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ)
    line.send('ready')
    at = 0
    while True:
        posted.acquire()
        data = shared[at : at + SIZE]
        if not data.strip(b'\0'):
            return
        sink.take(data)
        at = (at + SIZE) % len(shared)


def answer_posts(line: Line, here: str, there: str, count: int) -> None:
    """The other side of the ping-pong."""
    ping, pong = posix_ipc.Semaphore(here), posix_ipc.Semaphore(there)
    line.send('ready')
    for _ in range(count):
        ping.acquire()
        pong.release()


# -- writers, in this process --------------------------------------------------------

Series = Callable[[int, int], Summary]
"""Write a series (per second, count) and return what the reader says of it."""


def _series(line: Line, write: Write) -> Series:
    assert hear(line) == 'ready'

    def series(per_second: int, count: int) -> Summary:
        write_series(write, per_second, count)
        summary: Summary = hear(line)
        return summary

    return series


@contextmanager
def shm(streams: Streams, directory: Path, kind: str) -> Iterator[Series]:
    """Our own: ``kind`` of reader is thread, uvloop or asyncio."""
    function, more = (
        (read_in_thread, ()) if kind == 'thread' else (read_on_loop, (kind,))
    )
    with (
        streams.create('wake', capacity=CAPACITY) as producer,
        child(function, str(directory), *more) as line,
    ):
        yield _series(line, producer.write)
        producer.finish()


@contextmanager
def pipe() -> Iterator[Series]:
    """A pipe between the two."""
    read_fd, write_fd = os.pipe()
    try:
        with child(read_pipe, reduction.DupFd(read_fd)) as line:
            yield _series(line, lambda chunk: os.write(write_fd, chunk))
            line.close()
            os.close(write_fd)
            write_fd = -1
    finally:
        os.close(read_fd)
        if write_fd >= 0:
            os.close(write_fd)


@contextmanager
def semaphore() -> Iterator[Series]:
    """A bare semaphore, posted for every chunk, beside shared memory: the least."""
    name = f'/shmstream-bench-{os.getpid()}-posted'
    posted = posix_ipc.Semaphore(name, posix_ipc.O_CREX)
    try:
        with tempfile.NamedTemporaryFile(dir='/dev/shm') as file:
            file.truncate(_SLOTS * SIZE)
            shared = mmap.mmap(file.fileno(), _SLOTS * SIZE)
            with child(read_posted, name, file.name) as line:
                at = 0

                def write(chunk: bytes) -> None:
                    nonlocal at
                    shared[at : at + SIZE] = chunk
                    posted.release()
                    at = (at + SIZE) % len(shared)

                yield _series(line, write)
                shared[at : at + SIZE] = bytes(SIZE)
                posted.release()
    finally:
        posted.unlink()
        posted.close()


@contextmanager
def redis_published(server: Server) -> Iterator[Series]:
    """PUBLISH and SUBSCRIBE."""
    client = Client(server.path)
    with child(read_published, str(server.path)) as line:
        yield _series(line, lambda chunk: client.ask(b'PUBLISH', b'wake', chunk))
        client.ask(b'PUBLISH', b'wake', b'end')
    client.close()


@contextmanager
def redis_stream(server: Server) -> Iterator[Series]:
    """XADD and XREAD BLOCK, of what is kept as much as in our ring."""
    client = Client(server.path)
    client.ask(b'DEL', b'wake')
    limit = (b'MAXLEN', b'~', b'%d' % (CAPACITY // SIZE))
    add = (b'XADD', b'wake', *limit, b'*', b'd')
    with child(read_stream, str(server.path)) as line:
        yield _series(line, lambda chunk: client.ask(*add, chunk))
        client.ask(*add, b'end')
    client.ask(b'DEL', b'wake')
    client.close()


def half_round_trips(count: int, idle: bool) -> Summary:
    """A bare semaphore each way; microseconds, half of what there and back takes."""
    names = [f'/shmstream-bench-{os.getpid()}-{side}' for side in ('ping', 'pong')]
    rng = random.Random(count)
    halves = []
    ping, pong = (posix_ipc.Semaphore(name, posix_ipc.O_CREX) for name in names)
    try:
        with child(answer_posts, *names, count) as line:
            assert hear(line) == 'ready'
            for _ in range(count):
                if idle:
                    time.sleep(rng.uniform(*IDLE_S))
                began = time.monotonic_ns()
                ping.release()
                pong.acquire()
                halves.append((time.monotonic_ns() - began) / 2000)
    finally:
        for semaphore in (ping, pong):
            semaphore.unlink()
            semaphore.close()
    halves.sort()
    return {'p50': percentile(halves, 0.5), 'p99': percentile(halves, 0.99)}
