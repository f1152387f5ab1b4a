"""A stream as the body of a WSGI response.

WSGI gives an application no word of its client: a thread that waits for a quiet stream
would be held by a reader that left long ago, and one that writes to a reader that does
not read for as long as that likes. gunicorn puts the connection's socket into
``environ``, and this body looks at it while it waits, every 200 ms at the latest::

    waits for       looks whether                            then
    bytes           the client has left                      lets go
    room to write   it has left; the worker is to leave; it  lets go
                    has taken nothing for the send timeout;
                    the stream has been gone for as long

A stream that is gone (deleted, replaced, expired) takes up memory until its last reader
lets go, so one that sips at it is not waited for either. Looks are counted, and not
seconds: who was suspended meanwhile has all of them left.

A client that has shut down its sending side has left: nothing else tells the two apart
on a stream that is quiet, and nginx and gunicorn's ASGI worker take it so, too. With a
server that shows no socket nobody ever leaves, until bytes cannot be sent.

Like every response that must not end as if it were whole, it is cut without its closing
chunk; by a broken connection's error, of which gunicorn makes no noise in its log.
"""

from __future__ import annotations

import errno
import math
import select
import time
from collections.abc import Callable
from typing import Any, Self

from shmstream import lifecycle
from shmstream.consumer import Consumer
from shmstream.deploy.gunicorn_insides import socket_of
from shmstream.errors import FollowCut, OffsetLost
from shmstream.follower import Follower
from shmstream.settings import send_timeout
from shmstream.wakeups.doorbell_greenlet import original
from shmstream.wakeups.doorbell_thread import NET_S

_PART = 16 * 1024
"""Bytes that a socket takes without blocking once it says that it takes some."""

_NOTIFY_S = 1.0


def client_left(environ: dict[str, Any]) -> bool:
    """Return whether the client of this request has hung up; does not wait.

    Works where the server shows the connection's socket: gunicorn's own workers do.
    """
    sock = socket_of(environ)
    if sock is None:
        return False
    # gevent's would not know of hang-ups.
    poll = original('select', 'poll')()
    try:
        poll.register(sock, select.POLLRDHUP)
    except ValueError:
        # The server has closed it.
        return True
    return bool(poll.poll(0))


class Body:
    """What is left of a stream, to be returned by a WSGI application.

    Args:
        environ: of the request.
        consumer: the stream.
        offset: where to begin.
        leave: whether this process is to stop serving; by default as gunicorn says,
            which needs our hooks.
        timeout_s: how long the client may take nothing, and how long it may take of a
            stream that is gone; by default ``$SHMSTREAM_SEND_TIMEOUT``.

    Raises:
        SettingsError: that is of no use.
    """

    def __init__(
        self,
        environ: dict[str, Any],
        consumer: Consumer,
        offset: int = 0,
        leave: Callable[[], bool] = lifecycle.current.leaving,
        timeout_s: float | None = None,
    ) -> None:
        self._environ = environ
        self._leave = leave
        self._consumer: Consumer | None = consumer
        self._looks = math.ceil(
            (send_timeout() if timeout_s is None else timeout_s) / NET_S
        )
        self._looked_at = time.monotonic()
        self._gone_looks = 0.0
        # A worker of one thread does not heart-beat while it is in here.
        self._beats = not environ.get('wsgi.multithread')
        self._beat_at = 0.0
        self._follower: Follower | None = consumer.follow(offset, self._lets_go)
        self._read = b''
        self._at = 0
        # gunicorn sends the head with the body's first part, even if that is empty.
        self._head_waits = consumer.total_bytes <= offset

    def _lets_go(self) -> bool:
        if self._beats and time.monotonic() >= self._beat_at:
            self._beat_at = time.monotonic() + _NOTIFY_S
            lifecycle.current.notify()
        return self._leave() or client_left(self._environ)

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> bytes:
        """Return the next bytes, as soon as they can be sent.

        The first may be none, so that the response's head does not wait for a quiet
        stream.

        Raises:
            ConnectionResetError: the response is to be cut.
        """
        if self._follower is None:
            raise _cut('it has been closed')
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
        """See that the stream has not been gone for too long."""
        now = time.monotonic()
        # No more than one, however long it has been: so parts of one add up, too.
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
        # gevent's, if it has been patched: greenlets wait by that.
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
        # A server may keep what was cut, by the traceback, for longer than the response
        # lasts; and with it the mapping.
        self._follower = self._consumer = None


def _cut(why: str) -> ConnectionResetError:
    return ConnectionResetError(errno.ECONNRESET, why)
