"""Readers that take nothing are cut, so that they hold nothing for ever.

A response whose client does not read holds what it reads from: the mapping of a stream
that may have been evicted long ago, and whose memory counts until the last one lets go.
Dead mobile connections do that every day. So each worker looks at its responses a few
times per timeout, and at none of them in between: a delivery costs nothing more.

::

    looked at              bytes wait?     taken since the last look?     cut
    a TCP connection       transport,      bytes that the peer has        connection
                           kernel          acknowledged
    a Unix socket          transport       either of both queues          connection
                                           has changed
    one stream of many     within ``send`` a ``send`` has returned        the stream
    (HTTP/2), or no        otherwise as    otherwise as above
    transport to see       above, or not

Acknowledged bytes, because nothing else tells a slow reader from one that does not
read: the socket itself becomes writable again only when a third of its buffer, often a
megabyte, has gone.

Looks are counted, not seconds: whoever was suspended meanwhile, the client or we, has
all of them left. A reader of an evicted stream has as many looks in all, however fast
it takes. A peer that vanishes while there is nothing to send is found by the kernel's
keep-alive probes, within about the same time, and counts as a listener until then.
``TCP_USER_TIMEOUT`` would do part of it, and cut slow readers with small windows too.
"""

from __future__ import annotations

import asyncio
import fcntl
import itertools
import logging
import math
import socket
import struct
import termios
from collections.abc import Iterator
from typing import Any

from shmstream.consumer import Consumer
from shmstream.deploy.gunicorn_insides import protocol_of

log = logging.getLogger('shmstream.asgi')

_LOOK_S = 5.0
"""How often responses are looked at, if the timeout allows it."""

_LEAST_LOOKS = 4

_AT_ONCE = 256
"""Responses that are looked at in one turn of the loop."""

_PROBES = 3

_INFO_BYTES = 160
_UNACKED, _ACKED, _NOT_SENT = 24, 120, 144
"""Offsets in the kernel's ``struct tcp_info``, an interface that only grows."""


def transport_of(send: Any) -> tuple[Any | None, bool]:
    """Return the transport that a response goes out by, and whether it is its own.

    gunicorn's, and that of a server whose ``send`` is a method of an object with a
    ``transport`` (uvicorn's is); None if none is found.
    """
    owner, own = getattr(send, '__self__', None), True
    if owner is None:
        owner, own = protocol_of(send)
    transport = getattr(owner, 'transport', None)
    if not hasattr(transport, 'get_write_buffer_size'):
        return None, False
    return transport, own


class Reader:
    """A response under way, and how it is going.

    Attributes:
        source: the stream that it reads from, if it does.
    """

    __slots__ = (
        '_evicted',
        '_idle',
        '_mark',
        '_over',
        '_own',
        '_probed',
        '_send',
        '_sending',
        '_sent',
        '_task',
        '_transport',
        'source',
    )

    def __init__(self, send: Any, task: asyncio.Task[Any] | None = None) -> None:
        self.source: Consumer | None = None
        self._send = send
        self._transport: Any
        self._transport, self._own = transport_of(send)
        # Not the one that calls ``send``: a delivery is stepped by the hub's turn.
        self._task = task
        self._sending = False
        self._sent = 0
        self._over = False
        self._probed = False
        self._mark: object = None
        self._idle = 0
        self._evicted = 0

    @property
    def send(self) -> Any:
        """What its application is to send with."""
        return self._send if self._own else self._counted

    async def _counted(self, message: Any) -> None:
        self._sending = True
        try:
            await self._send(message)
        finally:
            self._sending = False
            self._sent += 1

    def leave(self) -> bool:
        """The application is done; False if bytes of it are still held."""
        self._over = True
        return not self._own or not self._size()

    def _size(self) -> int:
        return 0 if self._transport is None else self._transport.get_write_buffer_size()

    def look(self, looks: int, probe_s: float) -> bool:
        """Look how it is going; False if it need not be looked at again.

        Args:
            looks: how many in a row without progress are too many.
            probe_s: when the kernel finds out that a quiet peer has vanished.
        """
        if self._over and self.leave():
            return False
        waits, mark = self._state()
        if waits and mark == self._mark:
            self._idle += 1
        else:
            self._idle = 0
        self._mark = mark
        if self.source is not None and self.source.evicted:
            self._evicted += 1
        if max(self._idle, self._evicted) <= looks:
            if not self._probed and self._transport is not None:
                self._probed = True
                _probe(self._transport.get_extra_info('socket'), probe_s)
            return True
        self._cut(self._idle > looks)
        return False

    def _cut(self, stalled: bool) -> None:
        why = 'it takes nothing' if stalled else 'its stream is gone'
        log.info('a reader was cut: %s', why)
        if self._own or (stalled and not self._sending):
            # What is left is dropped with the connection.
            self._transport.abort()
        elif self._task is not None:
            self._task.cancel()

    def mark(self) -> object:
        """Return what changes whenever the client has taken something."""
        return self._state()[1]

    def _state(self) -> tuple[bool, object]:
        if self._sending or self._transport is None:
            return self._sending, self._sent
        size = self._transport.get_write_buffer_size()
        sock = self._transport.get_extra_info('socket')
        if sock is None:
            # uvloop shows none any more once it has closed it.
            return size > 0, size
        try:
            if sock.family != socket.AF_UNIX:
                info = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _INFO_BYTES)
                (unacked,) = struct.unpack_from('=I', info, _UNACKED)
                (not_sent,) = struct.unpack_from('=I', info, _NOT_SENT)
                return bool(size or unacked or not_sent), info[_ACKED : _ACKED + 8]
            queued = fcntl.ioctl(sock.fileno(), termios.TIOCOUTQ, bytes(4))
        except (OSError, ValueError, struct.error):
            # It is closing.
            return size > 0, size
        return size > 0, (size, queued)


def _probe(sock: Any, within_s: float) -> None:
    """Have the kernel ask a quiet peer whether it is there."""
    idle_s = max(1, round(within_s / 2))
    every_s = max(1, round(within_s / 2 / _PROBES))
    if sock is None or sock.family == socket.AF_UNIX:
        return
    try:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, idle_s)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, every_s)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, _PROBES)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    except (OSError, ValueError) as ex:
        # It has closed: nobody needs to be asked.
        log.debug('no keep-alive: %s', ex)


def looks_in(timeout_s: float) -> int:
    """Into how many looks a timeout is divided."""
    return max(_LEAST_LOOKS, math.ceil(timeout_s / _LOOK_S))


class Readers:
    """The responses of one event loop, and a timer while there are any.

    Args:
        timeout_s: how long a client may take nothing while bytes wait for it.
    """

    def __init__(self, timeout_s: float) -> None:
        self._timeout_s = timeout_s
        self._looks = looks_in(timeout_s)
        self._look_s = timeout_s / self._looks
        self._readers: dict[Reader, None] = {}
        self._ticking = False

    def __len__(self) -> int:
        return len(self._readers)

    def enter(self, send: Any) -> Reader:
        """A response begins; in the task that will send it."""
        reader = Reader(send, asyncio.current_task())
        self._readers[reader] = None
        if not self._ticking:
            self._ticking = True
            asyncio.get_running_loop().call_later(self._look_s, self._begin)
        return reader

    def leave(self, reader: Reader) -> None:
        """Its application is done; what it has left is looked after until it is gone.

        Without that a client could hold a mapping by the last bytes of a response.
        """
        if reader.leave():
            self._drop(reader)

    def _drop(self, reader: Reader) -> None:
        self._readers.pop(reader, None)
        # A request is in a circle with itself: it stays until the collector comes.
        reader.source = None

    def _begin(self) -> None:
        self._go_on(iter(list(self._readers)))

    def _go_on(self, left: Iterator[Reader]) -> None:
        loop = asyncio.get_running_loop()
        some = list(itertools.islice(left, _AT_ONCE))
        for reader in some:
            try:
                again = reader.look(self._looks, self._timeout_s)
            except Exception:
                # One server's transport must not take all others' bound with it.
                log.exception('a response cannot be looked at')
                again = False
            if not again:
                self._drop(reader)
        if len(some) == _AT_ONCE:
            loop.call_soon(self._go_on, left)
        elif self._readers:
            loop.call_later(self._look_s, self._begin)
        else:
            self._ticking = False
