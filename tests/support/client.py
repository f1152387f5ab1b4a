"""A plain HTTP client that sees exactly what is on the wire."""

from __future__ import annotations

import http.client
import json
import socket
import ssl
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

TIMEOUT_S = 20.0


@dataclass
class Reply:
    """A whole answer.

    Attributes:
        whole: False if the connection ended before the body did.
    """

    status: int
    headers: dict[str, str]
    body: bytes
    whole: bool = True

    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def error(self) -> dict[str, Any]:
        """The error object of an error answer."""
        error: dict[str, Any] = self.json()['error']
        return error


class Live:
    """An answer whose body is still coming. Close it."""

    def __init__(self, response: http.client.HTTPResponse, sock: socket.socket) -> None:
        self._response = response
        self._sock = sock
        self.status = response.status
        self.headers = {k.lower(): v for k, v in response.getheaders()}
        self.body = bytearray()
        self.whole: bool | None = None
        """True after the end, False after a cut, None before either."""

    @property
    def worker(self) -> int:
        """The process that serves it."""
        return int(self.headers['stream-worker'])

    def chunks(self) -> Iterator[bytes]:
        """The body as it comes; ends at the end or at a cut."""
        while True:
            try:
                chunk = self._response.read1(65536)
            except (http.client.HTTPException, ConnectionError):
                self.whole = False
                return
            if not chunk:
                # A body with a length that is cut short also ends like this.
                self.whole = not self._response.length
                return
            self.body += chunk
            yield chunk

    def until(self, size: int) -> bytes:
        """Read until the body has at least ``size`` bytes."""
        for _ in self.chunks():
            if len(self.body) >= size:
                break
        assert len(self.body) >= size, f'ended after {len(self.body)} bytes'
        return bytes(self.body)

    def rest(self) -> bytes:
        """Read to the end or the cut; returns the whole body."""
        for _ in self.chunks():
            pass
        return bytes(self.body)

    def close(self) -> None:
        """Hang up."""
        self._response.close()
        self._sock.close()

    def __enter__(self) -> Live:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Client:
    """Makes requests; every one on a connection of its own.

    Args:
        port: of the server.
        trusting: for a server that speaks TLS.
    """

    def __init__(self, port: int, trusting: ssl.SSLContext | None = None) -> None:
        self.port = port
        self._trusting = trusting

    def _connection(self, timeout_s: float) -> http.client.HTTPConnection:
        where = '127.0.0.1', self.port
        if self._trusting is None:
            return http.client.HTTPConnection(*where, timeout_s)
        return http.client.HTTPSConnection(
            *where, timeout=timeout_s, context=self._trusting
        )

    def open(
        self,
        method: str,
        target: str,
        body: bytes | None = None,
        headers: dict[str, str] | None = None,
        timeout_s: float = TIMEOUT_S,
    ) -> Live:
        """Send a request and return once the headers of the answer are there."""
        connection = self._connection(timeout_s)
        connection.connect()
        sock = connection.sock
        try:
            connection.putrequest(method, target, skip_accept_encoding=True)
            for name, value in (headers or {}).items():
                connection.putheader(name, value)
            if body is not None and 'Transfer-Encoding' not in (headers or {}):
                connection.putheader('Content-Length', str(len(body)))
            connection.endheaders(body)
            return Live(connection.getresponse(), sock)
        except BaseException:
            sock.close()
            raise

    def call(
        self,
        method: str,
        target: str,
        body: bytes | None = None,
        headers: dict[str, str] | None = None,
    ) -> Reply:
        """Make a request and read all of the answer."""
        with self.open(method, target, body, headers) as live:
            data = live.rest()
            return Reply(live.status, live.headers, data, bool(live.whole))

    def get(self, target: str, **headers: str) -> Reply:
        return self.call('GET', target, headers=headers)

    def delete(self, target: str) -> Reply:
        return self.call('DELETE', target)

    def lookup(self, *ids: str) -> Any:
        """What ``/v1/streams/lookup`` says of these ids.

        It is 503 while there is no supervisor; a busy machine takes longer to start one
        than a worker waits for it, so this asks again, as a client would.
        """
        body = json.dumps({'conversation_ids': ids}).encode()
        given_up = time.monotonic() + TIMEOUT_S
        while True:
            answer = self.call('POST', '/v1/streams/lookup', body)
            if answer.status != 503 or time.monotonic() > given_up:
                break
            time.sleep(float(answer.headers['retry-after']))
        assert answer.status == 200, (answer.status, answer.body)
        return answer.json()

    def post(self, conv_id: str | None, asked: dict[str, Any], **headers: str) -> Live:
        """POST a chat completion; returns once its headers are there."""
        if conv_id is not None:
            headers['X-Conversation-Id'] = conv_id
        headers['Content-Type'] = 'application/json'
        body = json.dumps({'messages': [], 'stream': True, **asked}).encode()
        return self.open('POST', '/v1/chat/completions', body, headers)


def path(conv_id: str, offset: int | None = None, **query: str) -> str:
    """The path form of a stream's address."""
    if offset is not None:
        query['from'] = str(offset)
    tail = '&'.join(f'{k}={quote(v, safe="")}' for k, v in query.items())
    return f'/v1/stream/{quote(conv_id, safe="")}' + ('?' + tail if tail else '')
