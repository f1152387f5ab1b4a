"""Clients that do not read, do not finish, leave early, or come in crowds."""

from __future__ import annotations

import json
import os
import socket
import struct
import threading
from collections.abc import Callable
from pathlib import Path

from tests.support.client import path
from tests.support.leaks import wait_until
from tests.support.patience import Stopwatch
from tests.support.service import Service
from tests.support.upstream import Exchange, Script, ScriptedUpstream

MB = 1 << 20


def rss(pid: int) -> int:
    """Resident memory of a process, in bytes."""
    for line in Path(f'/proc/{pid}/status').read_text().splitlines():
        if line.startswith('VmRSS:'):
            return int(line.split()[1]) * 1024
    raise AssertionError('no VmRSS')


def connect(port: int, receive_buffer: int | None = None) -> socket.socket:
    sock = socket.socket()
    if receive_buffer is not None:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
    sock.settimeout(20)
    sock.connect(('127.0.0.1', port))
    return sock


def reset(sock: socket.socket) -> None:
    """Leave with RST rather than FIN."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 0))
    sock.close()


def test_f27_readers_that_do_not_read_cost_a_socket_buffer_and_are_cut_off(
    serve: Callable[..., Service], upstream: Callable[[Script], ScriptedUpstream]
) -> None:
    """1. Six clients ask, and do not read. 2. 100 times the ring goes by.

    Result: the good reader gets every byte, memory is flat, and who wakes up late finds
    the connection cut without its closing chunk.
    """
    go = threading.Event()
    block = bytes(range(256)) * 64

    def flood(exchange: Exchange) -> None:
        exchange.start_stream()
        exchange.chunk(b'data: first\n\n')
        assert go.wait(20)
        for _ in range(400):
            if not exchange.chunk(block):
                return
        exchange.end()

    behind = upstream(flood)
    service = serve(
        workers=2, settings={'UPSTREAM': behind.url, 'SESSION_BYTES': '64KiB'}
    )
    client = service.client()
    post = client.post('flood', {})
    post.until(10)
    lazy = []
    for _ in range(6):
        sock = connect(service.port, 4096)
        sock.sendall(b'GET /v1/stream/flood HTTP/1.1\r\nHost: x\r\n\r\n')
        assert sock.recv(1)
        lazy.append(sock)
    before = {pid: rss(pid) for pid in service.worker_pids()}
    go.set()
    # The post's own reader reads as fast as it can, and may be overtaken all the same:
    # what the generation needs nobody to wait for is that it comes to its end.
    with post:
        post.rest()
    assert wait_until(lambda: client.lookup('flood')[0]['is_done'], 20)
    described = client.lookup('flood')[0]
    assert described['total_bytes'] == len(b'data: first\n\n') + 400 * len(block)
    for pid, size in before.items():
        assert rss(pid) - size < 24 * MB
    for sock in lazy:
        received = b''
        while chunk := sock.recv(65536):
            received += chunk
        assert not received.endswith(b'0\r\n\r\n')
        sock.close()
    lost = client.get(path('flood', 0))
    assert (lost.status, lost.error['dropped_prefix']) == (
        400,
        described['dropped_prefix'],
    )
    tail = client.get(path('flood', described['dropped_prefix'])).body
    assert tail == (block * 8)[-len(tail) :]


def test_slow_and_broken_requests_hold_up_nobody(demo: Service) -> None:
    client = demo.client()
    head = (
        b'POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nX-Conversation-Id: slow\r\n'
    )
    held = []
    for sent in (
        b'',
        b'PO',
        head,
        head + b'Content-Length: 100\r\n\r\n{',
        head + b'Transfer-Encoding: chunked\r\n\r\n5\r\n{',
    ):
        sock = connect(demo.port)
        sock.sendall(sent)
        held.append(sock)
    with client.post('quick', {'max_tokens': 3}) as post:
        assert post.rest().endswith(b'[DONE]\n\n')
    # A body that has not come makes no session.
    assert client.lookup('slow') == []
    for sock in held:
        reset(sock)
    assert client.lookup('slow') == []


def test_f26_readers_that_leave_in_any_way_are_forgotten(demo: Service) -> None:
    """Before the first byte, in the middle, by FIN and by RST: presence falls to 0."""
    client = demo.client()
    with client.post('left', {'max_tokens': 100_000, 'tokens_per_second': 1}) as post:
        post.until(100)
        descriptors = {
            pid: len(os.listdir(f'/proc/{pid}/fd')) for pid in demo.worker_pids()
        }
        for number in range(300):
            sock = connect(demo.port)
            sock.sendall(b'GET /v1/stream/left?from=0 HTTP/1.1\r\nHost: x\r\n\r\n')
            if number % 3:
                assert sock.recv(1)
            if number % 2:
                reset(sock)
            else:
                sock.close()

        def back() -> bool:
            return all(
                len(os.listdir(f'/proc/{pid}/fd')) <= count + 2
                for pid, count in descriptors.items()
            )

        assert wait_until(back, 15)
        assert client.delete(path('left')).status == 204


def test_crowds_that_connect_and_drop_change_nothing(demo: Service) -> None:
    client = demo.client()
    pids = demo.worker_pids()
    for _ in range(2_000):
        connect(demo.port).close()
    with Stopwatch() as watch:
        assert client.get('/healthz').status == 200
    assert watch.seconds < 10
    assert demo.worker_pids() == pids


def test_limits_on_what_a_request_may_be(demo: Service) -> None:
    client = demo.client()
    long = 'x' * 513
    assert client.get(path(long)).status == 400
    with client.post(long, {}) as refused:
        assert refused.status == 400
    assert client.get('/' + 'x' * 70_000).status in (400, 414)
    assert client.get('/v1/models', Cookie='x' * 70_000).status in (400, 431)
    many = {f'X-{number}': 'x' for number in range(300)}
    assert client.get('/v1/models', **many).status in (400, 431)
    too_many = json.dumps({'conversation_ids': ['x'] * 10_001}).encode()
    assert client.call('POST', '/v1/streams/lookup', too_many).status == 413
    assert 'Traceback' not in demo.text()
