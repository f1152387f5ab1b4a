"""An upstream that does what a test tells it to, and says what it saw."""

from __future__ import annotations

import http.server
import select
import socket
import threading
from collections.abc import Callable, Iterator
from typing import Any

WAIT_S = 60.0


class Exchange:
    """One request at the upstream; the test's script answers through it."""

    def __init__(self, handler: http.server.BaseHTTPRequestHandler) -> None:
        self._handler = handler
        self.method = handler.command
        self.target = handler.path
        self.headers = list(handler.headers.items())
        length = handler.headers.get('Content-Length')
        if handler.headers.get('Transfer-Encoding'):
            self.body = b''.join(self._unchunk())
        else:
            self.body = handler.rfile.read(int(length or 0))
        self.hung_up = threading.Event()
        """Set once the other side has been seen to close the connection."""

    def _unchunk(self) -> Iterator[bytes]:
        while size := int(self._handler.rfile.readline(), 16):
            yield self._handler.rfile.read(size)
            self._handler.rfile.readline()
        self._handler.rfile.readline()

    def header(self, name: str) -> str | None:
        """The first request header of this name."""
        return next((v for k, v in self.headers if k.lower() == name.lower()), None)

    def start(self, status: int = 200, *headers: tuple[str, str]) -> None:
        """Send the status line and headers."""
        self._handler.send_response_only(status)
        for name, value in headers:
            self._handler.send_header(name, value)
        self._handler.end_headers()
        self._handler.wfile.flush()

    def start_stream(
        self, content_type: str = 'text/event-stream', *headers: tuple[str, str]
    ) -> None:
        """Begin a chunked answer."""
        self.start(
            200,
            ('Content-Type', content_type),
            ('Transfer-Encoding', 'chunked'),
            *headers,
        )

    def chunk(self, data: bytes) -> bool:
        """Send a chunk; False once the other side has hung up."""
        try:
            self._handler.wfile.write(b'%x\r\n%s\r\n' % (len(data), data))
            self._handler.wfile.flush()
        except OSError:
            self.hung_up.set()
            return False
        return True

    def end(self) -> None:
        """Send the closing chunk."""
        self._handler.wfile.write(b'0\r\n\r\n')
        self._handler.wfile.flush()

    def reply(self, status: int, body: bytes, *headers: tuple[str, str]) -> None:
        """Send a whole answer."""
        self.start(status, ('Content-Length', str(len(body))), *headers)
        self._handler.wfile.write(body)
        self._handler.wfile.flush()

    def break_off(self) -> None:
        """Cut the connection in the middle."""
        self._handler.connection.shutdown(socket.SHUT_RDWR)

    @property
    def sock(self) -> socket.socket:
        """Its connection, for what is no HTTP any more."""
        connection: socket.socket = self._handler.connection
        return connection

    def wait_hang_up(self, wait_s: float = WAIT_S) -> bool:
        """Wait for the other side to close; False if it does not."""
        connection = self._handler.connection
        readable, _, _ = select.select([connection], [], [], wait_s)
        try:
            if readable and not connection.recv(1, socket.MSG_PEEK):
                self.hung_up.set()
        except ConnectionError:
            self.hung_up.set()
        return self.hung_up.is_set()


Script = Callable[[Exchange], None]


class ScriptedUpstream:
    """A threaded HTTP/1.1 server on a port of its own. Use it as a context manager."""

    def __init__(self, script: Script) -> None:
        self.script = script
        self.exchanges: list[Exchange] = []
        self.failures: list[BaseException] = []
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = 'HTTP/1.1'

            def handle_one_request(self) -> None:
                self.raw_requestline = self.rfile.readline(65537)
                if not self.raw_requestline or not self.parse_request():
                    self.close_connection = True
                    return
                exchange = Exchange(self)
                outer.exchanges.append(exchange)
                try:
                    outer.script(exchange)
                except (ConnectionError, BrokenPipeError):
                    exchange.hung_up.set()
                    self.close_connection = True
                except BaseException as ex:
                    outer.failures.append(ex)
                    raise

            def log_message(self, *_: Any) -> None:
                pass

        class Server(http.server.ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, *_: Any) -> None:
                pass

        self._server = Server(('127.0.0.1', 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))

    @property
    def url(self) -> str:
        return f'http://127.0.0.1:{self._server.server_port}'

    def __enter__(self) -> ScriptedUpstream:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
        assert self.failures == []
