"""Which HTTP client costs the least CPU per small streamed chunk?

A resumable-stream proxy reads LLM answers from its upstream: server-sent events in
HTTP/1.1 chunked coding, hundreds of chunks of about 200 bytes, each in a TCP segment
of its own. What the client library does per read is most of what such a stream costs,
so this measures it, for each client that is installed (others are skipped):

    python -m bench.questions.http_clients            under 2 min
        --quick             a rough answer, under 20 s
        --json result.json  also write every round's numbers

How: an upstream in a process of its own (uvloop, 127.0.0.1) writes one chunk to each
of --streams open answers every --tick ms. Each client reads them in a fresh process
under uvloop, set up as in a proxy: pooling, connect and read timeouts, no decoding, no
proxies from the environment. Rounds are interleaved, every other one in reverse, so
that a slow moment of the machine hits all clients alike. The table shows medians over
the rounds; a difference smaller than the width of min..max says nothing:

    us/chunk     the client process's CPU time (user + system) per chunk
    min..max     the same in its best and its worst round
    reads/chunk  items that the reading loop got, per chunk
    B/read       mean bytes of such an item: 200 is one chunk at a time
    busy         CPU time / wall time. h11 and httptools hand out one chunk at a time
                 even if the kernel has coalesced several, which B/read does not show.
                 If busy is well under 100 %, no backlog built up, and so hardly
                 any chunks were coalesced
    GET us       mean wall time of a small GET on a pooled connection (its CPU time)
    import ms    time to import the client where asyncio and uvloop are loaded already
    RSS MiB      resident memory after that import (and at the end, with what the client
                 imports on first use, and all the chunks, which are kept)

The floors have no timeouts, limits or error handling: they show how much could be won.
"""

from __future__ import annotations

import argparse
import asyncio
import importlib
import importlib.metadata
import importlib.util
import json
import os
import platform
import resource
import signal
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

EVENT = b'data: {"choices":[{"delta":{"content":" token"}}]}'.ljust(198) + b'\n\n'
HEAD = b'HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n'
REQUEST = b'GET %b HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n'
CONNECT_TIMEOUT, READ_TIMEOUT, CHILD_TIMEOUT = 5.0, 15.0, 30.0
GETS = 300

Got = Callable[[bytes], object]
Fetch = Callable[[str, Got], Awaitable[object]]  # GET a path, pass on each read
Opener = Callable[[str], AbstractAsyncContextManager[Fetch]]
Numbers = dict[str, float]


async def serve(fd: int) -> None:
    """Answer GET /stream/CHUNKS/TICK_MS with paced chunks, and GET /accepted with the
    number of connections that were accepted so far."""
    accepted = 0

    async def answer(
        reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        nonlocal accepted
        accepted += 1
        writer.get_extra_info('socket').setsockopt(
            socket.IPPROTO_TCP, socket.TCP_NODELAY, 1
        )
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            while head := await reader.readuntil(b'\r\n\r\n'):
                path = head.split(b' ', 2)[1].decode()
                if path == '/accepted':
                    writer.write(HEAD + b'Content-Length: 8\r\n\r\n%08d' % accepted)
                    continue
                chunks, tick_ms = map(int, path.split('/')[2:])
                writer.write(HEAD + b'Transfer-Encoding: chunked\r\n\r\n')
                for _ in range(chunks):
                    await asyncio.sleep(tick_ms / 1000)
                    writer.write(b'%x\r\n%b\r\n' % (len(EVENT), EVENT))
                    await writer.drain()
                writer.write(b'0\r\n\r\n')

    listener = socket.socket(fileno=fd)
    server = await asyncio.start_server(answer, sock=listener)
    await server.serve_forever()


@asynccontextmanager
async def open_aiohttp(base: str, *, iterate: bool = False) -> AsyncIterator[Fetch]:
    aiohttp = importlib.import_module('aiohttp')
    timeout = aiohttp.ClientTimeout(
        total=None, sock_connect=CONNECT_TIMEOUT, sock_read=READ_TIMEOUT
    )

    async def fetch(path: str, got: Got) -> None:
        async with session.get(base + path) as response:
            if iterate:
                async for data in response.content.iter_any():
                    got(data)
            else:
                while data := await response.content.readany():
                    got(data)

    async with aiohttp.ClientSession(timeout=timeout, auto_decompress=False) as session:
        yield fetch


@asynccontextmanager
async def open_httpx(base: str, module: str = 'httpx') -> AsyncIterator[Fetch]:
    httpx = importlib.import_module(module)
    timeout = httpx.Timeout(READ_TIMEOUT, connect=CONNECT_TIMEOUT)
    limits = httpx.Limits(max_connections=100, max_keepalive_connections=100)
    options = {'timeout': timeout, 'limits': limits, 'trust_env': False}

    async def fetch(path: str, got: Got) -> None:
        async with client.stream('GET', base + path) as response:
            async for data in response.aiter_raw():
                got(data)

    async with httpx.AsyncClient(**options) as client:
        yield fetch


@asynccontextmanager
async def open_httpcore(base: str, module: str = 'httpcore') -> AsyncIterator[Fetch]:
    httpcore = importlib.import_module(module)
    timeout = dict.fromkeys(('read', 'write', 'pool'), READ_TIMEOUT)
    extensions = {'timeout': {**timeout, 'connect': CONNECT_TIMEOUT}}

    async def fetch(path: str, got: Got) -> None:
        async with pool.stream('GET', base + path, extensions=extensions) as response:
            async for data in response.aiter_stream():
                got(data)

    async with httpcore.AsyncConnectionPool(max_connections=100) as pool:
        yield fetch


@asynccontextmanager
async def open_niquests(base: str) -> AsyncIterator[Fetch]:
    niquests = importlib.import_module('niquests')
    timeout = (CONNECT_TIMEOUT, READ_TIMEOUT)

    async def fetch(path: str, got: Got) -> None:
        response = await session.get(base + path, stream=True)
        async for data in await response.iter_raw(-1):
            got(data)
        await response.close()

    async with niquests.AsyncSession(pool_maxsize=100, timeout=timeout) as session:
        session.trust_env = False
        yield fetch


class BareProtocol(asyncio.Protocol):
    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    async def request(self, path: str, got: Got) -> None:
        httptools = importlib.import_module('httptools')
        done = self.done = asyncio.get_running_loop().create_future()
        events = SimpleNamespace(
            on_body=got, on_message_complete=lambda: done.set_result(None)
        )
        self.parser = httptools.HttpResponseParser(events)
        self.transport.write(REQUEST % path.encode())
        await done

    def data_received(self, data: bytes) -> None:
        self.parser.feed_data(data)

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.done.done():
            self.done.set_exception(ConnectionResetError('the upstream closed'))


@asynccontextmanager
async def open_protocol(base: str) -> AsyncIterator[Fetch]:
    loop, idle = asyncio.get_running_loop(), list[BareProtocol]()
    address = ('127.0.0.1', int(base.rpartition(':')[2]))

    async def fetch(path: str, got: Got) -> None:
        if not idle:
            idle.append((await loop.create_connection(BareProtocol, *address))[1])
        connection = idle.pop()
        await connection.request(path, got)
        idle.append(connection)

    yield fetch
    for connection in idle:
        connection.transport.close()


@asynccontextmanager
async def open_streams(base: str) -> AsyncIterator[Fetch]:
    httptools = importlib.import_module('httptools')
    idle: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []
    address = ('127.0.0.1', int(base.rpartition(':')[2]))

    async def fetch(path: str, got: Got) -> None:
        reader, writer = idle.pop() if idle else await asyncio.open_connection(*address)
        done: list[bool] = []
        events = SimpleNamespace(
            on_body=got, on_message_complete=lambda: done.append(True)
        )
        parser = httptools.HttpResponseParser(events)
        writer.write(REQUEST % path.encode())
        while not done:
            if not (data := await reader.read(65536)):
                raise ConnectionResetError('the upstream closed')
            parser.feed_data(data)
        idle.append((reader, writer))

    yield fetch
    for _, writer in idle:
        writer.close()


# name in the table: (module that must be installed, how to open a client)
CLIENTS: dict[str, tuple[str, Opener]] = {
    'aiohttp readany': ('aiohttp', open_aiohttp),
    'aiohttp iter_any': ('aiohttp', lambda base: open_aiohttp(base, iterate=True)),
    'httpcore': ('httpcore', open_httpcore),
    'httpx': ('httpx', open_httpx),
    'httpcore2': ('httpcore2', lambda base: open_httpcore(base, 'httpcore2')),
    'httpx2': ('httpx2', lambda base: open_httpx(base, 'httpx2')),
    'niquests': ('niquests', open_niquests),
    'floor: httptools by hand, not a candidate': ('httptools', open_protocol),
    'floor: asyncio streams, not a candidate': ('httptools', open_streams),
}


def rss_mib() -> float:
    statm = Path('/proc/self/statm')
    if statm.exists():
        return int(statm.read_text().split()[1]) * resource.getpagesize() / 2**20
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # near enough
    return peak / (2**20 if sys.platform == 'darwin' else 2**10)


async def measure(args: argparse.Namespace) -> Numbers:
    """Measure one client; runs in a fresh process of its own."""
    module, opener = CLIENTS[args.client]
    began = time.perf_counter()
    importlib.import_module(module)
    numbers = {'import_ms': (time.perf_counter() - began) * 1e3, 'rss_mib': rss_mib()}
    async with opener(args.base) as fetch:

        async def fetch_all(chunks: int) -> list[bytes]:
            got: list[bytes] = []
            path = f'/stream/{chunks}/{args.tick}'
            streams = (fetch(path, got.append) for _ in range(args.streams))
            await asyncio.gather(*streams)
            return got

        await fetch_all(20)  # opens the connections that the measured ones will use
        accepted: list[bytes] = []
        await fetch('/accepted', accepted.append)

        wall, cpu = time.perf_counter(), time.process_time()
        got = await fetch_all(args.chunks)
        cpu, wall = time.process_time() - cpu, time.perf_counter() - wall

        get_wall, get_cpu = time.perf_counter(), time.process_time()
        for _ in range(GETS):
            await fetch('/accepted', accepted.append)
        get_cpu = time.process_time() - get_cpu
        get_wall = time.perf_counter() - get_wall
        numbers['rss_end_mib'] = rss_mib()

    chunks = args.streams * args.chunks
    if sum(map(len, got)) != chunks * len(EVENT) or b'token' not in got[-1]:
        raise RuntimeError(f'got {sum(map(len, got))} bytes of {chunks * len(EVENT)}')
    if len(accepted) != GETS + 1 or len(set(accepted)) != 1:
        raise RuntimeError(f'not pooled: {accepted[0]!r} to {accepted[-1]!r} accepted')
    return numbers | {
        'us_per_chunk': cpu / chunks * 1e6,
        'reads_per_chunk': len(got) / chunks,
        'bytes_per_read': chunks * len(EVENT) / len(got),
        'busy': cpu / wall,
        'get_us': get_wall / GETS * 1e6,
        'get_cpu_us': get_cpu / GETS * 1e6,
    }


def median(rounds: list[Numbers]) -> Numbers:
    return {key: statistics.median(r[key] for r in rounds) for key in rounds[0]}


def table(results: dict[str, list[Numbers]]) -> str:
    head = 'client|us/chunk|min..max|reads/chunk|B/read|busy|GET us (CPU)|import ms'
    rows = [f'{head}|RSS MiB (end)'.split('|')]
    for name, rounds in results.items():
        costs = [numbers['us_per_chunk'] for numbers in rounds]
        cells = (
            '{us_per_chunk:.1f}|{low:.1f}..{high:.1f}|{reads_per_chunk:.3f}'
            '|{bytes_per_read:.1f}|{busy:.0%}|{get_us:.0f} ({get_cpu_us:.0f})'
            '|{import_ms:.0f}|{rss_mib:.1f} ({rss_end_mib:.1f})'
        ).format(**median(rounds), low=min(costs), high=max(costs))
        rows.append([name, *cells.split('|')])
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return '\n'.join(
        row[0].ljust(widths[0])
        + ''.join(f'  {cell:>{n}}' for cell, n in zip(row[1:], widths[1:], strict=True))
        for row in rows
    )


def machine() -> dict[str, Any]:
    cpu = platform.processor()
    with suppress(OSError):
        cpuinfo = Path('/proc/cpuinfo').read_text().partition('model name')[2]
        cpu = cpuinfo.partition('\n')[0].strip(' \t:') or cpu
    versions = {'python': platform.python_version()}
    modules = {module for module, _ in CLIENTS.values()}
    for name in sorted({*modules, 'uvloop', 'h11', 'anyio', 'urllib3-future'}):
        with suppress(importlib.metadata.PackageNotFoundError):
            versions[name] = importlib.metadata.version(name)
    system = {'platform': platform.platform(), 'cpu': cpu, 'cpus': os.cpu_count()}
    return {'machine': system, 'versions': versions}


def run_rounds(args: argparse.Namespace, base: str) -> dict[str, list[Numbers]]:
    results: dict[str, list[Numbers]] = {}
    for name, (module, _) in CLIENTS.items():
        if importlib.util.find_spec(module) is None:
            print(f'{name}: skipped, {module} is not installed')
        elif args.only in name:
            results[name] = []
    for number in range(args.rounds):
        names = list(results)
        for name in names if number % 2 == 0 else reversed(names):
            if len(results[name]) < number:
                continue  # it failed before
            print(f'round {number + 1}/{args.rounds}, {name}: ', end='', flush=True)
            command = [sys.executable, __file__, *sys.argv[1:], '--base', base]
            try:
                done = subprocess.run(
                    [*command, '--client', name],
                    stdout=subprocess.PIPE,
                    timeout=CHILD_TIMEOUT,
                    check=True,
                )
            except subprocess.SubprocessError as failure:
                print(f'failed, {type(failure).__name__}')
                continue
            results[name].append(json.loads(done.stdout))
            print(f'{results[name][-1]["us_per_chunk"]:.1f} us/chunk')
    return results


def benchmark(args: argparse.Namespace) -> int:
    info = machine()
    print(*(f'{k}: {v}' for part in info.values() for k, v in part.items()), sep='; ')
    with socket.create_server(('127.0.0.1', 0), backlog=512) as listener:
        base = f'http://127.0.0.1:{listener.getsockname()[1]}'
        fd = listener.fileno()
        command = [sys.executable, __file__, '--serve', str(fd)]
        upstream = subprocess.Popen(command, pass_fds=[fd])
    try:
        results = run_rounds(args, base)
    finally:
        upstream.kill()
        upstream.wait()
    done = {name: rounds for name, rounds in results.items() if rounds}
    print(f'\n{table(done)}')
    if args.json:
        options = ('rounds', 'streams', 'chunks', 'tick')
        info['settings'] = {name: getattr(args, name) for name in options}
        info['results'] = {
            k: {'median': median(v), 'rounds': v} for k, v in done.items()
        }
        args.json.write_text(json.dumps(info, indent=2) + '\n')
    complete = all(len(rounds) == args.rounds for rounds in results.values())
    return 0 if complete else 1


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--quick', action='store_true', help='one short round')
    parser.add_argument('--json', type=Path, metavar='FILE', help='write the results')
    parser.add_argument('--only', default='', metavar='TEXT', help='part of a name')
    parser.add_argument('--rounds', type=int, default=6)
    parser.add_argument('--streams', type=int, default=16)
    parser.add_argument('--chunks', type=int, default=600, help='per stream')
    parser.add_argument('--tick', type=int, default=2, help='ms between chunks')
    for option in ('--serve', '--client', '--base'):  # for the child processes
        parser.add_argument(option, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.quick:
        args.rounds, args.chunks = 1, 300
    if importlib.util.find_spec('uvloop') is None:
        parser.error('uvloop is not installed')
    if not args.serve and not args.client:
        return benchmark(args)

    uvloop = importlib.import_module('uvloop')
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        if args.serve:
            signal.alarm(900)  # ends the upstream should the parent be killed
            runner.run(serve(int(args.serve)))
        else:
            work = asyncio.wait_for(measure(args), CHILD_TIMEOUT - 5)
            print(json.dumps(runner.run(work)))
    return 0


if __name__ == '__main__':
    sys.exit(main())
