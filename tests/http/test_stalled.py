"""Clients that take nothing of what waits for them."""

from __future__ import annotations

import contextlib
import functools
import socket
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.http.proxied import Proxied
from tests.http.wire import connect, numbered, parse, read_to_end, unchunk
from tests.support.client import path
from tests.support.leaks import wait_until

SIZE = 12 << 20
"""More than the sockets between a worker and a reader that does not read can hold."""

WAIT_S = 30.0
"""Within which what has a bound of a few seconds happens on a busy machine."""


@pytest.fixture
def impatient(proxy: Callable[..., Proxied]) -> Proxied:
    """A service that cuts who takes nothing for a second."""
    return proxy(SEND_TIMEOUT='1', SESSION_BYTES='16MiB')


def deleted_mappings(proxied: Proxied) -> int:
    """Mappings of streams that are gone, in all workers."""
    count = 0
    for pid in proxied.service.worker_pids():
        lines = Path(f'/proc/{pid}/maps').read_text().splitlines()
        folder = str(proxied.service.directory)
        count += sum(folder in ln and ln.endswith('(deleted)') for ln in lines)
    return count


def connections(proxied: Proxied) -> int:
    """Connections that the service's clients have open, as the workers see them."""
    port = f':{proxied.service.port:04X}'
    count = 0
    for line in Path('/proc/net/tcp').read_text().splitlines()[1:]:
        _, local, _, state, *_ = line.split()
        count += local.endswith(port) and state == '01'
    return count


def unread(port: int, request: bytes) -> socket.socket:
    """Ask, and read nothing but the beginning of the answer."""
    sock = connect(port, receive_buffer=4096)
    sock.sendall(request)
    assert sock.recv(12) == b'HTTP/1.1 200'
    return sock


def asked(proxied: Proxied, conv_id: str, token: str) -> bytes:
    body = b'{"feed": "%s"}' % token.encode()
    return (
        b'POST /v1/x HTTP/1.1\r\nHost: x\r\nX-Conversation-Id: %s\r\n'
        b'Content-Length: %d\r\n\r\n%s' % (conv_id.encode(), len(body), body)
    )


def has(proxied: Proxied, conv_id: str, size: int) -> bool:
    """Whether a stream has come so far."""
    return bool(proxied.client.lookup(conv_id)[0]['total_bytes'] == size)


def filled(proxied: Proxied, conv_id: str, data: bytes, end: bool) -> Any:
    feed = proxied.feed(first=data)
    proxied.post(conv_id, feed).close()
    if end:
        feed.end()
    assert wait_until(
        lambda: (
            proxied.client.lookup(conv_id)[0]['total_bytes'] == len(data)
            and bool(proxied.client.lookup(conv_id)[0]['is_done']) == end
        ),
        WAIT_S,
    )
    return feed


@pytest.mark.parametrize('end', [False, True], ids=['live', 'finished'])
def test_a_reader_that_takes_nothing_is_cut(impatient: Proxied, end: bool) -> None:
    data = numbered(SIZE)
    filled(impatient, 'silent', data, end)
    request = f'GET {path("silent")} HTTP/1.1\r\nHost: x\r\n\r\n'.encode()
    with unread(impatient.service.port, request) as sock:
        assert wait_until(lambda: connections(impatient) == 0, WAIT_S)
        got = parse(b'HTTP/1.1 200' + read_to_end(sock)).body
    if not end:
        got, whole = unchunk(got)
        assert not whole
    assert len(got) < SIZE
    # The last chunk may have been cut in its middle.
    assert data.startswith(got[: len(got) - len(got) % 16])
    # It can go on where it was.
    reply = impatient.client.open('GET', path('silent', len(got)))
    with reply:
        assert reply.until(1024)[:1024] == data[len(got) : len(got) + 1024]


def test_a_body_that_is_passed_through_is_cut(impatient: Proxied) -> None:
    gone = threading.Event()

    def script(exchange: Any) -> None:
        exchange.start(200, ('Content-Type', 'text/plain'))
        with contextlib.suppress(OSError):
            for _ in range(64):
                exchange._handler.wfile.write(bytes(1 << 20))
        gone.set()

    impatient.script = script
    request = b'GET /big HTTP/1.1\r\nHost: x\r\n\r\n'
    with unread(impatient.service.port, request):
        assert gone.wait(WAIT_S), 'the upstream is held by a client that does not read'
        assert wait_until(lambda: connections(impatient) == 0, WAIT_S)


def test_streams_that_are_gone_are_let_go_of(impatient: Proxied) -> None:
    data = numbered(SIZE)
    with contextlib.ExitStack() as stack:
        for number in range(6):
            conv_id = f'round-{number}'
            feed = impatient.feed(first=data)
            request = asked(impatient, conv_id, feed.token)
            stack.enter_context(unread(impatient.service.port, request))
            assert wait_until(functools.partial(has, impatient, conv_id, SIZE), WAIT_S)
            impatient.client.call('DELETE', path(conv_id))
        assert wait_until(lambda: deleted_mappings(impatient) == 0, WAIT_S)
        assert wait_until(lambda: connections(impatient) == 0, WAIT_S)


class Sipping:
    """A client that takes a little, again and again, and never all there is.

    Args:
        sock: with a small receive buffer, or nobody would see that it takes anything.
    """

    def __init__(self, sock: socket.socket, size: int) -> None:
        self._sock = sock
        self._size = size
        self._stop = threading.Event()
        self.taken = 0
        self.cut = False
        self._thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        while not self._stop.wait(0.02):
            try:
                data = self._sock.recv(self._size)
            except ConnectionError:
                data = b''
            if not data:
                self.cut = True
                return
            self.taken += len(data)

    def __enter__(self) -> Sipping:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()


@pytest.mark.parametrize('end', [False, True], ids=['live', 'finished'])
def test_a_slow_reader_is_not_cut(proxy: Callable[..., Proxied], end: bool) -> None:
    proxied = proxy(SEND_TIMEOUT='4', SESSION_BYTES='16MiB')
    filled(proxied, 'slow', numbered(SIZE), end)
    request = f'GET {path("slow")} HTTP/1.1\r\nHost: x\r\n\r\n'.encode()
    with unread(proxied.service.port, request) as sock, Sipping(sock, 512) as slow:
        # One that takes nothing measures the time: it is cut, the other one is not.
        for _ in range(2):
            with unread(proxied.service.port, request):
                assert wait_until(lambda: connections(proxied) == 1, WAIT_S)
        assert not slow.cut
        assert 0 < slow.taken < SIZE


def test_a_slow_reader_of_a_stream_that_is_gone_is_cut(impatient: Proxied) -> None:
    data = numbered(SIZE)
    filled(impatient, 'gone', data, True)
    request = f'GET {path("gone")} HTTP/1.1\r\nHost: x\r\n\r\n'.encode()
    with (
        unread(impatient.service.port, request) as sock,
        Sipping(sock, 1024) as slow,
    ):
        impatient.client.call('DELETE', path('gone'))
        assert wait_until(lambda: connections(impatient) == 0, WAIT_S)
        assert wait_until(lambda: deleted_mappings(impatient) == 0, WAIT_S)
        assert slow.taken < SIZE
