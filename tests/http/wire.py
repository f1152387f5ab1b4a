"""Requests that no well-behaved client makes, and answers byte for byte."""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from tests.support.client import TIMEOUT_S, Client, Live, Reply

JSON = 'application/json; charset=utf-8'
KINDS = {400: 'invalid_request_error', 404: 'not_found_error'}
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
    answer: dict[str, Any] = json.loads(body)
    error: dict[str, Any] = answer['error']
    assert error['code'] == status
    assert message in error['message']
    assert error['type'] == KINDS.get(status, error['type'])
    return error


class Pinned:
    """A kept-alive connection, and so a worker of which to ask one thing at a time."""

    def __init__(self, port: int) -> None:
        self._connection = http.client.HTTPConnection('127.0.0.1', port, TIMEOUT_S)
        self._last: http.client.HTTPResponse | None = None
        self.worker = int(self.call('GET', '/healthz').json()['worker']['pid'])

    def open(
        self,
        method: str,
        target: str,
        body: bytes | None = None,
        headers: dict[str, str] | None = None,
    ) -> Live:
        """Return once the headers are there; read the body before asking again."""
        if self._last is not None:
            # It does not see the end of a body with a length unless it is told to.
            self._last.read()
        self._connection.request(method, target, body, headers or {})
        sock = self._connection.sock
        self._last = self._connection.getresponse()
        return Live(self._last, sock)

    def call(
        self, method: str, target: str, headers: dict[str, str] | None = None
    ) -> Reply:
        """Make a request and read all of the answer."""
        live = self.open(method, target, None, headers)
        data = live.rest()
        return Reply(live.status, live.headers, data, bool(live.whole))

    def post(self, conv_id: str, asked: dict[str, Any], **headers: str) -> Live:
        """POST a chat completion, as ``Client.post``."""
        headers |= {'X-Conversation-Id': conv_id, 'Content-Type': 'application/json'}
        body = json.dumps({'messages': [], 'stream': True, **asked}).encode()
        return self.open('POST', '/v1/chat/completions', body, headers)

    def close(self) -> None:
        """Hang up."""
        if self._last is not None:
            self._last.close()
        self._connection.close()

    def __enter__(self) -> Pinned:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


@contextlib.contextmanager
def one_per_worker(port: int, workers: int = 3) -> Iterator[list[Pinned]]:
    """A connection to each worker. Which worker accepts one is chance: try often."""
    found: dict[int, Pinned] = {}
    with contextlib.ExitStack() as stack:
        for _ in range(1000):
            pinned = Pinned(port)
            if pinned.worker in found:
                pinned.close()
                continue
            found[pinned.worker] = pinned
            stack.callback(pinned.close)
            if len(found) == workers:
                break
        assert len(found) == workers, f'only {list(found)} accept connections'
        yield list(found.values())


@dataclass
class Raw:
    """An answer as it was sent."""

    status: int
    headers: list[tuple[str, str]]
    body: bytes

    def all(self, name: str) -> list[str]:
        """Every value of a header."""
        return [v for n, v in self.headers if n == name.lower()]


def chunked(body: bytes, size: int = 65536) -> bytes:
    """Frame a body in chunks of this size, and close it."""
    pieces = [body[at : at + size] for at in range(0, len(body), size)]
    return b''.join(b'%x\r\n%s\r\n' % (len(p), p) for p in pieces) + b'0\r\n\r\n'


def unchunk(body: bytes) -> tuple[bytes, bool]:
    """Undo chunked framing; returns the data, and whether the closing chunk came."""
    data = bytearray()
    at = 0
    while (end := body.find(b'\r\n', at)) != -1:
        size = int(body[at:end], 16)
        if not size:
            return bytes(data), True
        data += body[end + 2 : end + 2 + size]
        at = end + 2 + size + 2
    return bytes(data), False


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
