"""The readers of the wake question, each in a process of its own.

Every chunk begins with the monotonic time at which it was written; the last byte of the
last chunk of a series is zero.
"""

from __future__ import annotations

import asyncio
import mmap
import os
import struct
import time
from pathlib import Path
from typing import Any

import posix_ipc
import uvloop

from bench.parts.children import Line
from bench.parts.redis import Client
from shmstream import Streams

SIZE = 200
STAMP = struct.Struct('<q')

Summary = dict[str, float]


def percentile(ordered: list[float], part: float) -> float:
    """The value below which this part of the sorted values lies."""
    return ordered[min(int(len(ordered) * part), len(ordered) - 1)]


class Sink:
    """Takes what the reader gets; sends a summary at the end of each series."""

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
        stamps = [STAMP.unpack_from(whole, at)[0] for at in range(0, len(whole), SIZE)]
        ages, end, number = [], 0, 0
        for came, data in self._got:
            end += len(data)
            # A chunk has arrived when its last byte has.
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


def read_shm(line: Line, directory: str, kind: str) -> None:
    """Follow our stream: ``kind`` is thread, or the event loop."""
    sink = Sink(line)

    async def read_on_loop(streams: Streams) -> None:
        follower = streams.open('wake').follow()
        line.send('ready')
        async for data in follower:
            sink.take(data)

    with Streams.attach(directory) as streams:
        if kind == 'thread':
            follower = streams.open('wake').follow()
            line.send('ready')
            for data in follower:
                sink.take(data)
        else:
            loops = {'uvloop': uvloop.new_event_loop, 'asyncio': asyncio.new_event_loop}
            with asyncio.Runner(loop_factory=loops[kind]) as runner:
                runner.run(read_on_loop(streams))


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


def answer_posts(line: Line, here: str, there: str, count: int, cpu: int) -> None:
    """The other side of the ping-pong."""
    os.sched_setaffinity(0, {cpu})
    ping, pong = posix_ipc.Semaphore(here), posix_ipc.Semaphore(there)
    line.send('ready')
    for _ in range(count):
        ping.acquire()
        pong.release()
