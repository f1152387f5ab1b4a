"""A relay between a client and the service that cuts connections where a test says."""

from __future__ import annotations

import contextlib
import re
import socket
import threading

WAIT_S = 60.0


class Cutting:
    """Relays connections; each is cut once so many marks of it have gone through.

    Args:
        port: of the service.
        mark: what is counted in what the service sends.
        cuts: after how many of them each connection is cut, in the order in which they
            get their first; the connections after those are not.

    Attributes:
        requests: the heads of the requests that it has seen, in order.
    """

    def __init__(self, port: int, mark: bytes = b'', *cuts: int) -> None:
        self._to = port
        self._mark = mark
        self._cuts = list(cuts)
        self.requests: list[bytes] = []
        self._goes = threading.Event()
        self._goes.set()
        self._near: list[socket.socket] = []
        self._listener = socket.create_server(('127.0.0.1', 0))
        self.port: int = self._listener.getsockname()[1]
        self._thread = threading.Thread(target=self._accept, daemon=True)

    def last_ids(self, target: str) -> list[str]:
        """The ``Last-Event-ID`` of each request for this target, or nothing."""
        found = []
        for head in self.requests:
            if head.split()[1].decode().partition('?')[0] == target:
                sent = re.search(rb'(?i)^last-event-id: (.*?)\r?$', head, re.M)
                found.append(sent[1].decode() if sent else '')
        return found

    def hold(self) -> None:
        """Cut all connections now, and let nothing pass until ``let_go``."""
        self._goes.clear()
        for near in self._near:
            with contextlib.suppress(OSError):  # it has ended
                near.shutdown(socket.SHUT_RDWR)

    def let_go(self) -> None:
        """Relay again, also what has come meanwhile."""
        self._goes.set()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):  # it has been closed
            while True:
                near, _ = self._listener.accept()
                self._near.append(near)
                threading.Thread(target=self._relay, args=(near,), daemon=True).start()

    def _relay(self, near: socket.socket) -> None:
        with near, contextlib.suppress(OSError):
            if not self._goes.wait(WAIT_S):
                return
            with socket.create_connection(('127.0.0.1', self._to)) as far:
                threading.Thread(target=self._up, args=(near, far), daemon=True).start()
                self._down(near, far)

    def _up(self, near: socket.socket, far: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := near.recv(65536):
                if b'HTTP/1.1\r\n' in data:
                    self.requests.append(data.partition(b'\r\n\r\n')[0])
                far.sendall(data)
            far.shutdown(socket.SHUT_WR)

    def _down(self, near: socket.socket, far: socket.socket) -> None:
        seen, cut, marked = b'', None, False
        while data := far.recv(65536):
            if not marked and self._mark in seen + data:
                # Browsers make connections that they do not use.
                marked, cut = True, self._cuts.pop(0) if self._cuts else None
            if cut is not None and (seen + data).count(self._mark) >= cut:
                # Up to the mark, and not a byte more.
                parts = (seen + data).split(self._mark)
                whole = self._mark.join(parts[:cut]) + self._mark
                near.sendall(whole[len(seen) :])
                break
            seen += data
            near.sendall(data)
        # ``close`` alone ends nothing while the other thread reads.
        near.shutdown(socket.SHUT_RDWR)

    def __enter__(self) -> Cutting:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._goes.set()
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join()
