"""The writers of the wake question, and the bare semaphores that it compares with."""

from __future__ import annotations

import mmap
import os
import random
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing import reduction
from pathlib import Path

import posix_ipc

from bench.parts import wake_readers as readers
from bench.parts.children import Line, child, hear
from bench.parts.redis import Client, Server
from bench.parts.wake_readers import SIZE, STAMP, Summary, percentile
from shmstream import Streams

CAPACITY = 32 << 20
"""Large, so that a reader is not overtaken while the machine does not let it run."""

IDLE_S = (0.006, 0.02)
"""Pauses between two writes: longer than an idle reader takes to fall asleep again."""

_SLOTS = 65536

_FILLER = b'x' * (SIZE - STAMP.size)
_LAST = b'x' * (SIZE - STAMP.size - 1) + b'\0'

Write = Callable[[bytes], object]


def write_series(write: Write, per_second: int, count: int) -> None:
    """Write ``count`` chunks at a pace; 0 per second: with pauses of ``IDLE_S``."""
    pack, now_ns = STAMP.pack, time.monotonic_ns
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


Series = Callable[[int, int], Summary]
"""Writes a series (per second, count) and returns the reader's summary of it."""


def _series(line: Line, write: Write) -> Series:
    assert hear(line) == 'ready'

    def series(per_second: int, count: int) -> Summary:
        write_series(write, per_second, count)
        summary: Summary = hear(line)
        return summary

    return series


@contextmanager
def shm(streams: Streams, directory: Path, kind: str) -> Iterator[Series]:
    """Our library: ``kind`` of reader is thread, uvloop or asyncio."""
    with (
        streams.create('wake', capacity=CAPACITY) as producer,
        child(readers.read_shm, str(directory), kind) as line,
    ):
        yield _series(line, producer.write)
        producer.finish()


@contextmanager
def pipe() -> Iterator[Series]:
    """A pipe between writer and reader."""
    read_fd, write_fd = os.pipe()
    try:
        with child(readers.read_pipe, reduction.DupFd(read_fd)) as line:
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
            with child(readers.read_posted, name, file.name) as line:
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
    with child(readers.read_published, str(server.path)) as line:
        yield _series(line, lambda chunk: client.ask(b'PUBLISH', b'wake', chunk))
        client.ask(b'PUBLISH', b'wake', b'end')
    client.close()


@contextmanager
def redis_stream(server: Server) -> Iterator[Series]:
    """XADD and XREAD BLOCK; Redis keeps as many bytes as our ring."""
    client = Client(server.path)
    client.ask(b'DEL', b'wake')
    limit = (b'MAXLEN', b'~', b'%d' % (CAPACITY // SIZE))
    add = (b'XADD', b'wake', *limit, b'*', b'd')
    with child(readers.read_stream, str(server.path)) as line:
        yield _series(line, lambda chunk: client.ask(*add, chunk))
        client.ask(*add, b'end')
    client.ask(b'DEL', b'wake')
    client.close()


def half_round_trips(count: int, idle: bool) -> Summary:
    """A bare semaphore each way; microseconds of half a round trip.

    Each side runs on a CPU of its own: on one CPU they would take turns, and no idle
    CPU would be woken.
    """
    names = [f'/shmstream-bench-{os.getpid()}-{side}' for side in ('ping', 'pong')]
    rng = random.Random(count)
    halves = []
    cpus = os.sched_getaffinity(0)
    ping, pong = (posix_ipc.Semaphore(name, posix_ipc.O_CREX) for name in names)
    try:
        with child(readers.answer_posts, *names, count, max(cpus)) as line:
            os.sched_setaffinity(0, {min(cpus)})
            assert hear(line) == 'ready'
            for _ in range(count):
                if idle:
                    time.sleep(rng.uniform(*IDLE_S))
                began = time.monotonic_ns()
                ping.release()
                pong.acquire()
                halves.append((time.monotonic_ns() - began) / 2000)
    finally:
        os.sched_setaffinity(0, cpus)
        for semaphore in (ping, pong):
            semaphore.unlink()
            semaphore.close()
    halves.sort()
    return {'p50': percentile(halves, 0.5), 'p99': percentile(halves, 0.99)}
