"""Requests that no well-behaved client makes, and answers byte for byte."""

from __future__ import annotations

import contextlib
import socket
from dataclasses import dataclass
from typing import Any

from tests.support.client import TIMEOUT_S, Client, Live, Reply

JSON = 'application/json; charset=utf-8'
RECORD = 16


def numbered(size: int, first: int = 0) -> bytes:
    """``size`` bytes of events that say where in the stream they are."""
    count = -(-size // RECORD)
    return b''.join(b'data: %08d\n\n' % n for n in range(first, first + count))[:size]


def as_header(conv_id: str) -> str:
    """The id as a value for ``http.client``, which writes headers as latin-1."""
    return conv_id.encode().decode('latin-1')


def posted(client: Client, conv_id: str, **asked: Any) -> bytes:
    """The whole answer of the demo model to a POST under this id."""
    with client.post(as_header(conv_id), {'max_tokens': 3, **asked}) as post:
        whole = post.rest()
        assert post.status == 200
        assert post.whole
    return whole


def assert_error(reply: Reply | Live, status: int, message: str) -> dict[str, Any]:
    """Check an error answer against OpenAI's shape; returns the error."""
    body = reply.rest() if isinstance(reply, Live) else reply.body
    assert reply.status == status, body
    assert reply.headers['content-type'] == JSON
    error = Reply(reply.status, reply.headers, bytes(body)).error
    assert error['code'] == status
    assert message in error['message']
    kind = 'not_found_error' if status == 404 else error['type']
    assert error['type'] == kind
    assert kind
    return error


def open_elsewhere(client: Client, target: str, *pids: int) -> Live:
    """GET a stream in another worker than these: which one accepts is chance."""
    for _ in range(300):
        live = client.open('GET', target)
        if live.status == 200 and live.worker not in pids:
            return live
        status = live.status
        live.close()
        assert status == 200
    raise AssertionError(f'only {pids} accept connections')


@dataclass
class Raw:
    """An answer as it was sent."""

    status: int
    headers: list[tuple[str, str]]
    body: bytes

    def all(self, name: str) -> list[str]:
        """Every value of a header."""
        return [v for n, v in self.headers if n == name.lower()]


def parse(answer: bytes) -> Raw:
    """Cut an answer into its parts; the body keeps its chunks' framing."""
    head, _, body = answer.partition(b'\r\n\r\n')
    lines = head.decode('latin-1').split('\r\n')
    headers = [line.partition(':') for line in lines[1:]]
    return Raw(
        int(lines[0].split()[1]),
        [(name.lower(), value.strip()) for name, _, value in headers],
        body,
    )


def connect(port: int, receive_buffer: int = 0) -> socket.socket:
    """A connection, with a receive buffer of this many bytes."""
    sock = socket.socket()
    sock.settimeout(TIMEOUT_S)
    if receive_buffer:
        # Before connecting: the window that is offered depends on it.
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
    sock.connect(('127.0.0.1', port))
    return sock


def read_to_end(sock: socket.socket) -> bytes:
    """Everything that comes until the other side closes."""
    got = bytearray()
    with contextlib.suppress(ConnectionError):
        while data := sock.recv(1 << 16):
            got += data
    return bytes(got)


def ask(
    port: int,
    line: str | bytes,
    *headers: tuple[str, str],
    body: bytes = b'',
) -> Raw:
    """Send a request line and headers as they are, and read to the connection's end."""
    raw = line.encode() if isinstance(line, str) else line
    fields = [('Host', 'test'), ('Connection', 'close'), *headers]
    head = ''.join(f'{n}: {v}\r\n' for n, v in fields).encode('latin-1')
    with connect(port) as sock:
        sock.sendall(raw + b' HTTP/1.1\r\n' + head + b'\r\n' + body)
        return parse(read_to_end(sock))
