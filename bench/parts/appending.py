"""Contenders that append and read chunks in one process, and what that costs.

Every contender is a function ``(size, count) -> Costs``: CPU microseconds per
operation, of all processes that take part, under the names in ``PLACES``.
"""

from __future__ import annotations

import multiprocessing
import os
import secrets
import subprocess
import time
from collections.abc import Callable, Iterator

from bench.measure import cpu_s
from bench.native.build import build
from bench.parts.redis import Client, Server
from shmstream import Streams
from shmstream.ring.layout import HEADER_BYTES, W_CAPACITY
from shmstream.ring.ring import RingReader, RingWriter

CAPACITY = 4 << 20
PLACES = ('append below', 'append cap', 'read below', 'read cap')

_PIPE_BYTES = 60_000
"""Fits into a pipe, so that one process can write it before it reads it."""

_SLOW = 200
"""Appends to a buffer that moves all that it keeps: 40 us to 150 us each."""

Costs = dict[str, float]
Measure = Callable[[int, int], Costs]
Clock = Callable[[], int]


def us_each(operations: Iterator[object], count: int, clock: Clock) -> float:
    """Run ``count`` operations; return CPU microseconds for each."""
    began = clock()
    for _ in operations:
        pass
    return (clock() - began) / 1000 / count


def repeat(operation: Callable[..., object], arguments: Iterator[object]) -> float:
    """CPU microseconds of this process per call."""
    todo = list(arguments)
    began = time.process_time_ns()
    for argument in todo:
        operation(argument)
    return (time.process_time_ns() - began) / 1000 / len(todo)


def _same(chunk: bytes, count: int) -> Iterator[bytes]:
    return (chunk for _ in range(count))


def _offsets(first: int, head: int, size: int, count: int) -> Iterator[int]:
    """Offsets to read at, spread over all that is kept."""
    span = head - first - size + 1
    return (first + i * size % span for i in range(count))


def _ring_costs(
    append: Callable[[bytes], object],
    read: Callable[[int, int], bytes],
    size: int,
    count: int,
) -> Costs:
    chunk = secrets.token_bytes(size)
    # Below the cap: as many as fit into half of the ring.
    below = min(count, CAPACITY // 2 // size)
    costs = {'append below': repeat(append, _same(chunk, below))}
    head = below * size

    def read_here(offset: int) -> bytes:
        return read(offset, size)

    costs['read below'] = repeat(read_here, _offsets(0, head, size, count))
    filler = bytes(65536)
    for _ in range(CAPACITY // len(filler) + 1):
        append(filler)
    head += (CAPACITY // len(filler) + 1) * len(filler)
    costs['append cap'] = repeat(append, _same(chunk, count))
    head += count * size
    offsets = _offsets(head - CAPACITY, head, size, count)
    costs['read cap'] = repeat(read_here, offsets)
    return costs


def bare_ring(size: int, count: int) -> Costs:
    """An empty ring over process memory: no segment, no fence, no follower to wake."""
    view = memoryview(bytearray(HEADER_BYTES + CAPACITY))
    view.cast('Q')[W_CAPACITY] = CAPACITY
    return _ring_costs(RingWriter(view).append, RingReader(view).read, size, count)


def producer_of(streams: Streams) -> Measure:
    """``Producer.write`` and ``Consumer.read`` on a real segment, with all they do."""

    def measure(size: int, count: int) -> Costs:
        with streams.create('bench') as producer:
            consumer = streams.open('bench')
            return _ring_costs(producer.write, consumer.read, size, count)

    return measure


def trimmed_bytearray(size: int, count: int) -> Costs:
    """The usual way to keep the last bytes in Python; each append moves all of them."""
    kept = bytearray()

    def append(chunk: bytes) -> None:
        kept.extend(chunk)
        if len(kept) > CAPACITY:
            kept[:] = kept[len(kept) - CAPACITY :]

    chunk = secrets.token_bytes(size)
    below = min(count, CAPACITY // 2 // size)
    costs = {'append below': repeat(append, _same(chunk, below))}
    append(bytes(CAPACITY))
    return costs | {'append cap': repeat(append, _same(chunk, min(count, _SLOW)))}


def cplusplus(size: int, count: int) -> dict[str, Costs]:
    """llama.cpp's buffer, and memcpy alone: both from one run of the program."""
    below = min(count, CAPACITY // 2 // size)
    arguments = [size, CAPACITY, below, min(count, 5 * _SLOW)]
    done = subprocess.run(
        [build('ring.cpp'), *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        check=True,
    )
    vector: Costs = {}
    memcpy: Costs = {}
    for line in done.stdout.splitlines():
        what, where, ns = line.split()
        if what.startswith('memcpy'):
            name = {'memcpy-in': 'append', 'memcpy-out': 'read'}[what]
            memcpy[f'{name} {where}'] = float(ns) / 1000
        else:
            vector[f'{what} {where}'] = float(ns) / 1000
    return {'C++ vector': vector, 'memcpy': memcpy}


def pipe(size: int, count: int) -> Costs:
    """A write and a read of a pipe: no replay, one reader."""
    read_fd, write_fd = os.pipe()
    chunk = secrets.token_bytes(size)
    batch = max(_PIPE_BYTES // max(size, 4096), 1)
    write_us, read_us, rounds = 0.0, 0.0, max(count // batch // 4, 1)
    try:
        for _ in range(rounds):
            write_us += repeat(lambda c: os.write(write_fd, c), _same(chunk, batch))
            read_us += repeat(lambda _: os.read(read_fd, size), _same(chunk, batch))
    finally:
        os.close(read_fd)
        os.close(write_fd)
    return {'append below': write_us / rounds, 'read below': read_us / rounds}


def queue(size: int, count: int) -> Costs:
    """``multiprocessing.Queue``: pickled, and written by a thread of its own."""
    chunk = secrets.token_bytes(size)
    batch = max(_PIPE_BYTES // max(size, 4096), 1)
    rounds = max(count // batch // 40, 1)
    put_ns, get_ns = 0, 0
    filled: multiprocessing.Queue[bytes] = multiprocessing.Queue()
    try:
        for _ in range(rounds):
            began = time.process_time_ns()
            for _ in range(batch):
                filled.put(chunk)
            # The queue's thread has to write them first; sleeping costs no CPU time.
            time.sleep(0.002)
            between = time.process_time_ns()
            for _ in range(batch):
                filled.get()
            put_ns += between - began
            get_ns += time.process_time_ns() - between
    finally:
        filled.close()
        filled.join_thread()
    each = 1000 * rounds * batch
    return {'append below': put_ns / each, 'read below': get_ns / each}


def redis_stream(server: Server) -> Measure:
    """XADD and XREAD, one chunk a command; the CPU time of Redis is included."""

    def clock() -> int:
        return time.process_time_ns() + round(cpu_s([server.pid]) * 1e9)

    def measure(size: int, count: int) -> Costs:
        count = max(count // 10, 1)
        chunk = secrets.token_bytes(size)
        kept = max(CAPACITY // size, 1)
        # "~" lets Redis drop whole nodes only, which is the usual and fast way.
        limit = (b'MAXLEN', b'~', b'%d' % kept)
        client = Client(server.path)
        try:
            client.ask(b'DEL', b'bench')
            below = min(count, kept // 2)
            add = (b'XADD', b'bench', *limit, b'*', b'd', chunk)
            costs = {
                'append below': us_each(
                    (client.ask(*add) for _ in range(below)), below, clock
                )
            }
            read = (b'XREAD', b'COUNT', b'1', b'STREAMS', b'bench', b'0-0')
            costs['read below'] = us_each(
                (client.ask(*read) for _ in range(count)), count, clock
            )
            for _ in range(kept // 500 + 1):
                for _ in range(500):
                    client.send(*add)
                for _ in range(500):
                    client.receive()
            costs['append cap'] = us_each(
                (client.ask(*add) for _ in range(count)), count, clock
            )
            costs['read cap'] = us_each(
                (client.ask(*read) for _ in range(count)), count, clock
            )
            client.ask(b'DEL', b'bench')
        finally:
            client.close()
        return costs

    return measure
