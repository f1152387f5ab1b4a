"""Cuts readers that take nothing, so that they do not hold memory for ever.

A response whose client does not read still holds the mapping of its stream. The stream
may have been evicted long ago, but its memory is in use until the last mapping is gone.
Dead mobile connections cause this every day. So each worker looks at its responses a
few times per timeout. Between two looks nothing is checked, so that a delivery costs
nothing extra.

::

    the response goes by   do bytes wait?         has the client taken    what is cut
                                                  bytes since the last
                                                  look?
    a TCP connection       in the transport, or   the peer has            connection
                           in the kernel          acknowledged some
    a Unix socket          in the transport       the transport's or the  connection
                                                  kernel's queue has
                                                  changed
    one stream of many     ``send`` is waiting;   a ``send`` has          the stream
    (HTTP/2), or a hidden  else as above, if the  returned; else as
    transport              transport is known     above

Acknowledged bytes are counted, because nothing else tells a slow reader from a reader
that does not read: a socket becomes writable again only when a third of its buffer,
often a megabyte, is free.

The timeout counts looks, not seconds: if the client or this process is suspended, the
client loses none of its time. A reader of an evicted stream is cut after the same
number of looks, however fast it reads. If a peer vanishes while there is nothing to
send, the kernel's keep-alive probes find that out within about the same time; until
then the peer counts as a listener. ``TCP_USER_TIMEOUT`` would do a part of this work,
but would also cut slow readers with small windows.
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

from shmstream.asgi.keepalive import probe
from shmstream.asgi.servers_send import is_servers_own, servers_send
from shmstream.consumer import Consumer
from shmstream.deploy.gunicorn_insides import protocol_of

log = logging.getLogger('shmstream.asgi')

_LOOK_S = 5.0
"""Seconds between two looks, at most."""

_LEAST_LOOKS = 4
"""Looks per timeout, at least."""

_AT_ONCE = 256
"""Responses that are looked at in one turn of the event loop."""

_INFO_BYTES = 160
_UNACKED, _ACKED, _NOT_SENT = 24, 120, 144
"""Offsets in the kernel's ``struct tcp_info``; newer kernels only append to it."""


def transport_of(send: Any) -> tuple[Any | None, bool]:
    """Return the transport of a response, and whether no other response shares it.

    The transport is found for gunicorn, and for a server whose ``send`` is a method of
    an object with a ``transport``, such as uvicorn. Otherwise it is None.
    """
    owner, own = getattr(send, '__self__', None), True
    if owner is None:
        owner, own = protocol_of(send)
    elif not hasattr(owner, 'transport'):
        # The ``receive`` of gunicorn, where there is no ``send`` (``iterated``).
        owner = getattr(owner, 'protocol', None)
    transport = getattr(owner, 'transport', None)
    if not hasattr(transport, 'get_write_buffer_size'):
        return None, False
    return transport, own


class Reader:
    """A response under way, and how long its client has taken nothing.

    Made in the task that sends the response.

    Attributes:
        source: the stream that the response sends; None if it sends none.
        among: the responses of the same event loop; set by ``Readers``.
    """

    __slots__ = (
        '_evicted',
        '_head',
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
        'among',
        'source',
    )

    def __init__(self, send: Any) -> None:
        self.source: Consumer | None = None
        self.among: _LoopReaders | None = None
        self._send = send
        self._transport: Any
        self._transport, self._own = transport_of(send)
        self._head = None
        if self._transport is None and (body := servers_send(send)) is not send:
            self._head, self._send = send, body
            self._transport, self._own = transport_of(body)
        # The task that sends the response is noted here, because ``send`` may be called
        # outside of it, in the hub's turn of the event loop. A response that has its
        # connection to itself is cut by its connection, and needs no task.
        self._task = None if self._own else asyncio.current_task()
        self._sending = False
        self._sent = 0
        self._over = False
        self._probed = False
        self._mark: object = None
        self._idle = 0
        self._evicted = 0

    @property
    def send(self) -> Any:
        """The ``send`` that the application has to use, but for the head."""
        return self._send if self._own else self._counted

    @property
    def shared(self) -> bool:
        """Whether others are known to share the connection of the response (HTTP/2)."""
        return self._transport is not None and not self._own

    @property
    def in_task(self) -> bool:
        """Whether ``send`` has to be called in the task of the response."""
        # gunicorn's ``send`` for HTTP/2 waits with a timeout of asyncio, which from
        # Python 3.12 on fails outside of a task.
        return self.shared or not is_servers_own(self._send)

    @property
    def send_head(self) -> Any:
        """The ``send`` for the message that begins the response."""
        return self._head or self.send

    async def _counted(self, message: Any) -> None:
        self.is_sending()
        try:
            await self._send(message)
        finally:
            self.has_sent()

    def is_sending(self) -> None:
        """Note that a part of the response is being sent, and waits for its client."""
        self._sending = not self._own

    def has_sent(self) -> None:
        """Note that the client has taken enough for more to be sent."""
        self._sending = False
        self._sent += 1

    def leave(self) -> bool:
        """Note that the application is done.

        Returns:
            False if bytes of the response are still queued.
        """
        self._over = True
        return not self._own or not self._transport.get_write_buffer_size()

    def look(self, looks: int, probe_s: float) -> bool:
        """Look at the response; False if no further look is needed.

        Args:
            looks: the response is cut after more than this number of looks without
                progress.
            probe_s: seconds in which the kernel is to notice that a quiet peer has
                vanished.
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
                probe(self._transport.get_extra_info('socket'), probe_s)
            return True
        self._cut(self._idle > looks)
        return False

    def _cut(self, stalled: bool) -> None:
        why = 'it takes nothing' if stalled else 'its stream is gone'
        log.info('a reader was cut: %s', why)
        if self._own or (stalled and not self._sending):
            # ``abort`` also drops the bytes that are still queued.
            self._transport.abort()
        elif self._task is not None:
            self._task.cancel()

    def mark(self) -> object:
        """Return an object that differs whenever the client has taken bytes."""
        return self._state()[1]

    def _state(self) -> tuple[bool, object]:
        if self._sending or self._transport is None:
            return self._sending, self._sent
        size = self._transport.get_write_buffer_size()
        sock = self._transport.get_extra_info('socket')
        if sock is None:
            # uvloop's transport shows no socket any more once it has closed it.
            return size > 0, size
        try:
            if sock.family != socket.AF_UNIX:
                info = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _INFO_BYTES)
                (unacked,) = struct.unpack_from('=I', info, _UNACKED)
                (not_sent,) = struct.unpack_from('=I', info, _NOT_SENT)
                return bool(size or unacked or not_sent), info[_ACKED : _ACKED + 8]
            queued = fcntl.ioctl(sock.fileno(), termios.TIOCOUTQ, bytes(4))
        except (OSError, ValueError, struct.error):
            # The connection is closing.
            return size > 0, size
        return size > 0, (size, queued)


def looks_in(timeout_s: float) -> int:
    """Return the number of looks in a timeout."""
    return max(_LEAST_LOOKS, math.ceil(timeout_s / _LOOK_S))


class Readers:
    """The responses under way, of all event loops of the process; thread-safe.

    Args:
        timeout_s: seconds for which a client may take nothing while bytes wait for it.
    """

    def __init__(self, timeout_s: float) -> None:
        self._timeout_s = timeout_s
        self._on_loops: dict[asyncio.AbstractEventLoop, _LoopReaders] = {}

    def __len__(self) -> int:
        return sum(len(readers) for readers in self._on_loops.copy().values())

    def enter(self, send: Any) -> Reader:
        """Add a response that begins. Call it in the task that will send it."""
        reader = Reader(send)
        loop = asyncio.get_running_loop()
        here = self._on_loops.get(loop)
        if here is None:
            here = self._begin_on(loop)
        here.enter(reader)
        return reader

    def leave(self, reader: Reader) -> None:
        """Remove a response when its application is done and no byte is queued.

        Call it on the event loop of ``enter``. A response with queued bytes is watched
        until the bytes are gone. Otherwise a client could hold a mapping by not reading
        the last bytes of a response.
        """
        if reader.leave() and reader.among is not None:
            reader.among.drop(reader)

    def _begin_on(self, loop: asyncio.AbstractEventLoop) -> _LoopReaders:
        # A loop may close before its timer has run for the last time.
        for closed in [each for each in self._on_loops.copy() if each.is_closed()]:
            self._on_loops.pop(closed, None)
        return self._on_loops.setdefault(loop, _LoopReaders(self._timeout_s))


class _LoopReaders:
    """The responses of one event loop. A timer runs while there are any.

    Args:
        timeout_s: as for ``Readers``.
    """

    def __init__(self, timeout_s: float) -> None:
        self._timeout_s = timeout_s
        self._looks = looks_in(timeout_s)
        self._look_s = timeout_s / self._looks
        self._readers: dict[Reader, None] = {}
        self._ticking = False

    def __len__(self) -> int:
        return len(self._readers)

    def enter(self, reader: Reader) -> None:
        """Add a response."""
        reader.among = self
        self._readers[reader] = None
        if not self._ticking:
            self._ticking = True
            asyncio.get_running_loop().call_later(self._look_s, self._begin)

    def drop(self, reader: Reader) -> None:
        """Remove a response."""
        self._readers.pop(reader, None)
        # The server's objects for a request refer to each other, and stay until the
        # garbage collector runs. They must not hold the mapping for as long.
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
                # An unusual transport must not keep all other responses from being
                # looked at.
                log.exception('a response cannot be looked at')
                again = False
            if not again:
                self.drop(reader)
        if len(some) == _AT_ONCE:
            loop.call_soon(self._go_on, left)
        elif self._readers:
            loop.call_later(self._look_s, self._begin)
        else:
            self._ticking = False
