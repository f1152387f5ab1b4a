"""The transport of threads: ``http.client``, a connection for each request.

The standard library's client is enough, because a stream takes a connection for its
whole life: there is nothing to pool. It hands on each chunk as it comes, and it tells a
missing closing chunk from an end.
"""

from __future__ import annotations

import contextlib
import http.client
import socket
import ssl
from collections.abc import Mapping

from shmstream.client import address
from shmstream.client.decoding import BodyDamaged, CodingUnknown, decoder_for
from shmstream.client.errors import NotResumable
from shmstream.client.exchange import Asked, Lost
from shmstream.client.limits import Limits

_PIECE = 64 * 1024


class SocketAnswer:
    """An answer on a connection of its own (``exchange.Answer``)."""

    def __init__(
        self, response: http.client.HTTPResponse, sock: socket.socket | None
    ) -> None:
        self._response = response
        self._sock = sock
        self.status = response.status
        self.headers: Mapping[str, str] = {
            name.lower(): value for name, value in response.getheaders()
        }
        try:
            self._decoder = decoder_for(self.headers.get('content-encoding', ''))
        except CodingUnknown as ex:
            self.close()
            raise NotResumable(str(ex)) from ex

    def read(self) -> bytes:
        """Return the next bytes below the coding; empty at a clean end.

        Raises:
            Lost: the connection ended, or was silent for too long.
        """
        try:
            # A piece of a compressed body may hold no whole byte of what is below.
            while data := self._response.read1(_PIECE):
                if found := self._decoder.feed(data):
                    return found
            if self._response.length:
                # ``read1`` does not tell this.
                raise Lost(f'the body ended {self._response.length} bytes too early')
            self._decoder.end()
        except (OSError, http.client.HTTPException, BodyDamaged) as ex:
            raise Lost(f'the connection was lost: {_words(ex)}') from ex
        except (ValueError, AttributeError) as ex:
            # ``close`` was called while this thread was reading.
            raise Lost('the connection was closed') from ex
        return b''

    def close(self) -> None:
        """Hang up. A thread that reads is woken."""
        if self._sock is not None:
            # It may be closed already, or the other side was quicker.
            with contextlib.suppress(OSError):
                self._sock.shutdown(socket.SHUT_RDWR)
        self._response.close()
        if self._sock is not None:
            self._sock.close()


class Sockets:
    """Opens connections (``exchange.Open``).

    Args:
        limits: how long to wait for what.
        context: for ``https``; None: the system's certificates.
    """

    def __init__(self, limits: Limits, context: ssl.SSLContext | None) -> None:
        self._limits = limits
        self._context = context

    def __call__(self, asked: Asked) -> SocketAnswer:
        """Send a request; return once the head of the answer is there.

        Raises:
            Lost: there is no answer.
        """
        limits = self._limits
        connection = self._connection(asked.url)
        try:
            connection.connect()
        except OSError as ex:
            connection.close()
            raise Lost(f'cannot connect: {_words(ex)}', sent=False) from ex
        sock: socket.socket = connection.sock
        try:
            sock.settimeout(limits.begin_s if asked.begins else limits.idle_s)
            target = address.target(asked.url)
            # As bytes, because ids are UTF-8 and text would be sent as Latin-1.
            headers = {name: text.encode() for name, text in asked.headers.items()}
            connection.request(asked.method, target, asked.body, headers)
            response = connection.getresponse()
            sock.settimeout(limits.idle_s)
        except (OSError, http.client.HTTPException) as ex:
            sock.close()
            raise Lost(f'no answer came: {_words(ex)}') from ex
        except BaseException:
            sock.close()
            raise
        return SocketAnswer(response, sock)

    def _connection(self, url: str) -> http.client.HTTPConnection:
        scheme, host, port = address.origin(url)
        timeout = self._limits.connect_s
        if scheme == 'http':
            return http.client.HTTPConnection(host, port, timeout=timeout)
        return http.client.HTTPSConnection(
            host, port, timeout=timeout, context=self._context
        )


def _words(error: BaseException) -> str:
    return str(error) or type(error).__name__
