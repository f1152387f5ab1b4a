"""An upstream of plain sockets: a test's script has each connection to itself."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Self

WAIT_S = 20.0
SSE = b'HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n'
CHUNKED = SSE + b'Transfer-Encoding: chunked\r\n\r\n'


class Link:
    """One connection.

    Attributes:
        number: how many have been accepted before it.
    """

    def __init__(self, sock: socket.socket, number: int) -> None:
        self.sock = sock
        self.number = number
        self._buffer = b''
        sock.settimeout(WAIT_S)

    def request(self) -> bytes | None:
        """The next request, head and body, as it came; None at the end."""
        while b'\r\n\r\n' not in self._buffer:
            if not self._more():
                return None
        head, _, rest = self._buffer.partition(b'\r\n\r\n')
        lines = [line.partition(b':') for line in head.split(b'\r\n')]
        fields = {name.lower(): value.strip() for name, _, value in lines}
        length = int(fields.get(b'content-length', b'0'))
        while len(rest) < length:
            if not self._more():
                return None
            rest = self._buffer.partition(b'\r\n\r\n')[2]
        self._buffer = rest[length:]
        return head + b'\r\n\r\n' + rest[:length]

    def _more(self) -> bool:
        try:
            data = self.sock.recv(65536)
        except (ConnectionError, TimeoutError):
            return False
        self._buffer += data
        return bool(data)

    def read(self, size: int) -> bytes:
        """So many bytes."""
        while len(self._buffer) < size and self._more():
            pass
        data, self._buffer = self._buffer[:size], self._buffer[size:]
        return data

    def send(self, data: bytes) -> None:
        """Send bytes."""
        self.sock.sendall(data)

    def chunk(self, data: bytes) -> None:
        """Send a chunk."""
        self.send(b'%x\r\n%s\r\n' % (len(data), data))

    def reply(
        self, body: bytes = b'', *lines: bytes, status: bytes = b'200 OK'
    ) -> None:
        """Send a whole answer of plain text."""
        head = b''.join(line + b'\r\n' for line in lines)
        self.send(
            b'HTTP/1.1 %s\r\nContent-Length: %d\r\n%s\r\n%s'
            % (status, len(body), head, body)
        )

    def reset(self) -> None:
        """Close with RST."""
        self.sock.setsockopt(
            socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 0)
        )
        self.sock.close()

    def wait_closed(self) -> bool:
        """Wait for the other side to close."""
        while self._more():
            pass
        with contextlib.suppress(OSError):
            self.sock.shutdown(socket.SHUT_RDWR)
        return True


Script = Callable[[Link], object]


class RawUpstream:
    """Listens on a port, or on a Unix socket. Use it as a context manager.

    Args:
        script: what is done with each connection, in a thread of its own.
        path: of the Unix socket; None: a TCP port on loopback.
    """

    def __init__(self, script: Script, path: Path | None = None) -> None:
        self.script = script
        self.links: list[Link] = []
        self.failures: list[BaseException] = []
        if path is None:
            self._listener = socket.create_server(('127.0.0.1', 0))
        else:
            self._listener = socket.socket(socket.AF_UNIX)
            self._listener.bind(str(path))
            self._listener.listen()
        self._threads: list[threading.Thread] = []
        self._accepting = threading.Thread(target=self._accept, daemon=True)

    @property
    def port(self) -> int:
        port: int = self._listener.getsockname()[1]
        return port

    @property
    def url(self) -> str:
        return f'http://127.0.0.1:{self.port}'

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                sock, _ = self._listener.accept()
                link = Link(sock, len(self.links))
                self.links.append(link)
                thread = threading.Thread(target=self._run, args=(link,), daemon=True)
                self._threads.append(thread)
                thread.start()

    def _run(self, link: Link) -> None:
        try:
            self.script(link)
        except OSError:
            # The other side has hung up.
            pass
        except BaseException as ex:
            self.failures.append(ex)
        finally:
            link.sock.close()

    def __enter__(self) -> Self:
        self._accepting.start()
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(OSError):
            # Closing alone does not end an accept().
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._accepting.join(WAIT_S)
        for link in self.links:
            with contextlib.suppress(OSError):
                link.sock.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(WAIT_S)
        assert self.failures == []
