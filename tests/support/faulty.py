"""An upstream of raw sockets: every byte of its answers, and every fault, is a test's.

A request names its answer by ``?answer=NAME``, or in ``X-Answer``. An answer is what
the test sends, and then one of the faults::

    end       the closing chunk
    reset     RST
    fin       FIN without the closing chunk
    half      ``0\\r\\n`` of the closing chunk, then FIN
    silence   nothing: the connection stays open
"""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
from types import TracebackType
from typing import Self

WAIT_S = 20.0

FAULTS = ('reset', 'fin', 'half')
"""Those that end the connection."""


class FaultyAnswer:
    """One answer: it does what it is told by the test's thread.

    Args:
        content_type: its type.
        headers: its others.
        length: a Content-Length to claim; None: it comes in chunks.
        first: the part of the body that comes with its head.
        framed: whether the head says how the body ends; if not, it ends with its
            connection.
    """

    def __init__(
        self,
        content_type: str,
        headers: tuple[tuple[str, str], ...] = (),
        length: int | None = None,
        first: bytes = b'',
        framed: bool = True,
    ) -> None:
        framing = 'Transfer-Encoding: chunked'
        if length is not None:
            framing = f'Content-Length: {length}'
        # Of no use for another request, whose connection it is then.
        fields = [f'Content-Type: {content_type}', 'Connection: close']
        fields += [framing] if framed else []
        fields += [f'{name}: {value}' for name, value in headers]
        self._head = ('HTTP/1.1 200 OK\r\n' + '\r\n'.join(fields) + '\r\n\r\n').encode()
        self._chunked = framed and length is None
        self._first = first
        self._asked = threading.Event()
        self._sock: socket.socket | None = None

    def begin(self, sock: socket.socket) -> None:
        """The request is there."""
        sock.sendall(self._head)
        self._sock = sock
        if self._first:
            sock.sendall(self._framed(self._first))
        self._asked.set()

    @property
    def sock(self) -> socket.socket:
        """The connection, once it has been asked for."""
        assert self._asked.wait(WAIT_S), 'upstream was not asked'
        assert self._sock is not None
        return self._sock

    def send(self, data: bytes) -> None:
        """Send a part of the body."""
        self.sock.sendall(self._framed(data))

    def _framed(self, data: bytes) -> bytes:
        return b'%x\r\n%s\r\n' % (len(data), data) if self._chunked else data

    def fail(self, fault: str) -> None:
        """End it in this way."""
        sock = self.sock
        if fault == 'end':
            sock.sendall(b'0\r\n\r\n')
            return
        if fault == 'half':
            sock.sendall(b'0\r\n')
        if fault == 'reset':
            sock.setsockopt(
                socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 0)
            )
        elif fault in ('half', 'fin'):
            sock.shutdown(socket.SHUT_WR)
        else:
            assert fault == 'silence', fault
            return
        sock.close()

    def hung_up(self, wait_s: float = WAIT_S) -> bool:
        """Whether the service closes the connection within this time."""
        self.sock.settimeout(wait_s)
        try:
            while self.sock.recv(65536):
                pass
        except ConnectionError:
            pass
        except TimeoutError:
            return False
        return True


class FaultyUpstream:
    """A server on a port of its own. Use it as a context manager."""

    def __init__(self) -> None:
        self._listener = socket.create_server(('127.0.0.1', 0))
        self.url = f'http://127.0.0.1:{self._listener.getsockname()[1]}'
        self._answers: dict[bytes, FaultyAnswer] = {}
        self._open: list[socket.socket] = []
        self._thread = threading.Thread(target=self._serve)

    def add(self, name: str, answer: FaultyAnswer) -> FaultyAnswer:
        """Answer requests for this name so."""
        self._answers[name.encode()] = answer
        return answer

    def _serve(self) -> None:
        while True:
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            sock.settimeout(WAIT_S)
            self._open.append(sock)
            threading.Thread(target=self._answer, args=(sock,), daemon=True).start()

    def _answer(self, sock: socket.socket) -> None:
        # Connections that the service gives up, and those that a test has ended.
        with contextlib.suppress(OSError):
            got = b''
            while b'\r\n\r\n' not in got:
                data = sock.recv(65536)
                if not data:
                    return
                got += data
            head, _, body = got.partition(b'\r\n\r\n')
            line = head.split(b'\r\n', 1)[0]
            fields = head.lower().split(b'\r\n')
            length = next(f for f in fields if f.startswith(b'content-length:'))
            while len(body) < int(length.partition(b':')[2]):
                body += sock.recv(65536)
            name = line.split()[1].partition(b'answer=')[2]
            for field in fields:
                if field.startswith(b'x-answer:'):
                    name = field.partition(b':')[2].strip()
            self._answers[name].begin(sock)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for sock in self._open:
            sock.close()
        self._thread.join()
