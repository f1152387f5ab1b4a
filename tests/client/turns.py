"""A relay in front of a service: what happens to each connection, in turn."""

from __future__ import annotations

import contextlib
import re
import socket
import threading
from collections.abc import Callable

from tests.support.raw_upstream import Link, RawUpstream

_LASTING = re.compile(rb'(?i)connection: keep-alive')
"""A connection has one turn, so the service ends it after its answer."""

Turn = Callable[['Turns', Link, bytes], object]
"""Gets the request of a connection."""


def drop(relay: Turns, link: Link, request: bytes) -> None:
    """Hang up without passing the request on."""


def answer(text: bytes) -> Turn:
    """Answer with these bytes, and hang up."""
    return lambda relay, link, request: link.send(text)


def refuse(status: int, *lines: bytes, body: bytes = b'') -> Turn:
    """Answer with an error."""
    reply = lambda relay, link, request: link.reply(  # noqa: E731
        body, *lines, status=b'%d No' % status
    )
    return reply


def cut(after: int | None) -> Turn:
    """Pass the request on, and this many bytes after the head; None: all of them."""

    def turn(relay: Turns, link: Link, request: bytes) -> None:
        with socket.create_connection(('127.0.0.1', relay.to)) as far:
            far.sendall(_LASTING.sub(b'Connection: close', request))
            # Who leaves is seen at once, or the service would go on sending.
            leaving = threading.Thread(target=_leave, args=(link.sock, far))
            leaving.start()
            with contextlib.suppress(OSError):
                _pass_on(far, link, after)
            with contextlib.suppress(OSError):
                link.sock.shutdown(socket.SHUT_RDWR)
            leaving.join()

    return turn


def _pass_on(far: socket.socket, link: Link, after: int | None) -> None:
    seen = b''
    passed = 0
    while data := far.recv(65536):
        seen += data
        body = seen.find(b'\r\n\r\n') + 4
        if after is not None and body > 3 and len(seen) >= body + after:
            link.send(seen[passed : body + after])
            return
        link.send(data)
        passed = len(seen)


def lose_after_sending(relay: Turns, link: Link, request: bytes) -> None:
    """Pass the request on, and lose the connection when its answer begins."""
    with socket.create_connection(('127.0.0.1', relay.to)) as far:
        far.sendall(request)
        far.recv(1)


def _leave(near: socket.socket, far: socket.socket) -> None:
    with contextlib.suppress(OSError):
        near.settimeout(None)
        while near.recv(65536):
            pass
    with contextlib.suppress(OSError):
        far.shutdown(socket.SHUT_RDWR)


class Turns(RawUpstream):
    """Listens on a port; connections after the last turn are passed on.

    Attributes:
        to: the port that they are passed on to.
        requests: the request of each connection.
    """

    def __init__(self, to: int, *turns: Turn) -> None:
        super().__init__(self._take)
        self.to = to
        self.requests: list[bytes] = []
        self._turns = turns

    def _take(self, link: Link) -> None:
        request = link.request()
        if request is None:
            return
        self.requests.append(request)
        turn = self._turns[link.number] if link.number < len(self._turns) else cut(None)
        turn(self, link, request)

    @property
    def asked(self) -> list[str]:
        """The request lines, without the protocol."""
        lines = [request.partition(b'\r\n')[0].decode() for request in self.requests]
        return [line.rpartition(' ')[0] for line in lines]

    @property
    def offsets(self) -> list[int]:
        """The offsets that the GETs have asked for, in order."""
        gets = [line for line in self.asked if line.startswith('GET')]
        return [
            int(line.partition('from=')[2].partition('&')[0] or '0') for line in gets
        ]
