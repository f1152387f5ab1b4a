"""A stream as the body of a WSGI response.

WSGI does not tell an application that its client has left. A client that left long ago
could hold a thread that waits for a quiet stream, and a client that does not read could
hold a thread that writes to it. gunicorn puts the connection's socket into ``environ``,
and the body looks at this socket while it waits, at least every 200 ms::

    the body waits for  and lets go of the stream when
    bytes               the client has left, or the worker is to leave
    room to write       the client has left, or the worker is to leave,
                        or the client has taken nothing for the send timeout,
                        or the stream has been gone for the send timeout

A stream that is gone (deleted, replaced, expired) takes up memory until its last reader
lets go of it. So a client that reads such a stream slowly is cut as well. The timeout
counts looks, not seconds: if the process is suspended, the client loses none of its
time.

A client that has shut down its sending side counts as gone, because on a quiet stream
it looks the same as a client that has left. nginx and gunicorn's ASGI worker decide in
the same way. If the server shows no socket, the body notices that a client has left
only when bytes cannot be sent.

A response that is not whole is cut without its closing chunk. The body cuts it with the
error of a broken connection, because gunicorn logs no traceback for that error.
"""

from __future__ import annotations

import errno
import math
import select
import time
from collections.abc import Callable, Iterator
from typing import Any, Self

from shmstream.consumer import Consumer
from shmstream.deploy.gunicorn_insides import socket_of
from shmstream.errors import FollowCut, OffsetLost
from shmstream.follower import Follower
from shmstream.internals import host_of
from shmstream.serving.framed_follower import Framer
from shmstream.serving.reply import Following, Live, Place
from shmstream.settings import send_timeout
from shmstream.wakeups.doorbell_greenlet import original
from shmstream.wakeups.doorbell_thread import NET_S
from shmstream.weakly import weakly

_PART = 16 * 1024
"""Bytes that a socket takes without blocking as soon as ``poll`` finds it writable."""

_NOTIFY_S = 1.0
"""How often the worker tells its master that it is alive."""


def client_left(environ: dict[str, Any]) -> bool:
    """Return whether the client of this request has hung up. Does not wait.

    Needs a server that shows the connection's socket, as gunicorn's own workers do.

    Example::

        def app(environ, start_response):
            start_response('200 OK', [('Content-Type', 'text/plain')])
            for word in (b'Hello ', b'world'):
                if shmstream.wsgi.client_left(environ):
                    break
                yield word
    """
    sock = socket_of(environ)
    if sock is None:
        return False
    # The original ``poll``, because gevent's own does not report that a client has hung
    # up.
    poll = original('select', 'poll')()
    try:
        poll.register(sock, select.POLLRDHUP)
    except ValueError:
        # The server has closed the socket.
        return True
    return bool(poll.poll(0))


class Body:
    """The rest of a stream, for a WSGI application to return.

    Args:
        environ: the request's.
        consumer: the stream.
        offset: the first byte to send.
        leave: returns whether this process is to stop serving. By default the process's
            host is asked: the one that ``Streams.attach`` was given, or gunicorn if
            shmstream's hooks are installed.
        timeout_s: seconds for which the client may read nothing, and for which it may
            go on reading a stream that is gone; by default
            ``$SHMSTREAM_SEND_TIMEOUT``.
        first: bytes that are sent before that; they have been read already.
        follows: is told the follower, if a source waits for this one reader.
        place: is given back at the end. A body that an application makes itself has
            none, and is not counted as a reader.
        framer: turns what is read into what is sent; None: it is sent as it is.
        transport: what the metrics call this follower.
        resumed: whether what is sent begins after the stream's beginning; None: if
            ``offset`` is above 0.

    Raises:
        SettingsError: ``$SHMSTREAM_SEND_TIMEOUT`` has a value that cannot be used.

    Example::

        def app(environ, start_response):
            consumer = streams.open('chat-1')
            start_response('200 OK', [('Content-Type', consumer.content_type)])
            return shmstream.wsgi.Body(environ, consumer)
    """

    def __init__(
        self,
        environ: dict[str, Any],
        consumer: Consumer,
        offset: int = 0,
        leave: Callable[[], bool] | None = None,
        timeout_s: float | None = None,
        *,
        first: bytes = b'',
        follows: Callable[[Follower], None] | None = None,
        place: Place | None = None,
        framer: Framer | None = None,
        transport: str = 'library',
        resumed: bool | None = None,
    ) -> None:
        self._place = place
        self._environ = environ
        self._host = host_of(consumer)
        self._leave = self._host.leaving if leave is None else leave
        self._consumer: Consumer | None = consumer
        self._looks = math.ceil(
            (send_timeout() if timeout_s is None else timeout_s) / NET_S
        )
        self._looked_at = time.monotonic()
        self._gone_looks = 0.0
        # A worker with one thread cannot tell its master that it is alive while this
        # body has the thread, so the body tells the master.
        self._beats = not environ.get('wsgi.multithread')
        self._beat_at = 0.0
        # Without a reference cycle: a body that is dropped lets go of its place, and of
        # the source that waits for it, at once.
        lets_go = weakly(self._lets_go, True)
        live = Live(
            *(consumer, offset, lets_go, first, follows, framer),
            transport=transport,
            resumed=resumed,
        )
        self._follower: Following | None = live.follow()
        self._read = first
        self._at = 0
        # If the stream is quiet now, an empty part makes gunicorn send the response's
        # head (``deploy.gunicorn_insides``). Other servers ignore an empty part.
        self._head_waits = not first and consumer.total_bytes <= offset

    def _lets_go(self) -> bool:
        if self._beats and time.monotonic() >= self._beat_at:
            self._beat_at = time.monotonic() + _NOTIFY_S
            self._host.notify()
        return self._leave() or client_left(self._environ)

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> bytes:
        """Return the next bytes, as soon as they can be sent.

        The first part may be empty, so that the response's head does not wait for a
        quiet stream.

        Raises:
            ConnectionResetError: the server has to cut the response.
        """
        if self._follower is None:
            raise _cut('the body has been closed')
        if self._head_waits:
            self._head_waits = False
            return b''
        if self._at == len(self._read):
            try:
                self._read, self._at = next(self._follower), 0
            except StopIteration:
                if self._follower.untold_failure:
                    raise _cut(self._follower.untold_failure) from None
                raise
            except (FollowCut, OffsetLost) as ex:
                raise _cut(str(ex)) from ex
        self._wait_for_room()
        part = self._read[self._at : self._at + _PART]
        self._at += len(part)
        return part

    def _look(self) -> None:
        """Count one look. Raise if the stream has been gone for too many looks."""
        now = time.monotonic()
        # Calls that follow each other quickly count as parts of a look. A call after a
        # long time counts as one look, not as several.
        look = min((now - self._looked_at) / NET_S, 1.0)
        self._looked_at = now
        if self._consumer is not None and self._consumer.evicted:
            self._gone_looks += look
            if self._gone_looks >= self._looks:
                raise _cut('its stream is gone')

    def _wait_for_room(self) -> None:
        self._look()
        sock = socket_of(self._environ)
        if sock is None:
            return
        # If gevent has patched ``select``, this is gevent's ``poll``: then other
        # greenlets run while this one waits.
        poll = select.poll()
        try:
            poll.register(sock, select.POLLOUT)
        except ValueError:
            raise _cut('the connection is closed') from None
        for _ in range(self._looks):
            if poll.poll(NET_S * 1000):
                return
            self._look()
            if self._lets_go():
                break
        raise _cut('the client reads nothing')

    def close(self) -> None:
        """Let go of the stream; WSGI servers call it whatever happens. Idempotent."""
        if self._follower is not None:
            self._follower.close()
        # The traceback of a cut response may keep this body alive for long. The body
        # must not keep the stream mapped for as long.
        self._follower = self._consumer = None
        if self._place is not None:
            self._place.give_back()


def cut_after(data: bytes) -> Iterator[bytes]:
    """Yield these bytes, and have the server cut the response.

    Raises:
        ConnectionResetError: as ``Body``.
    """
    yield data
    raise _cut('the client has to come back')


def _cut(why: str) -> ConnectionResetError:
    return ConnectionResetError(errno.ECONNRESET, why)
