"""A worker's end of the control socket: one request at a time, every wait bounded."""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from shmstream import clock
from shmstream.control.wire import MAX_REPLY, FrameReader, Message, encode
from shmstream.errors import (
    ControlError,
    NoRoom,
    ShmstreamError,
    StreamReplaced,
    SupervisorUnavailable,
)
from shmstream.memory.directory import RuntimeDirectory

REPLY_S = 5.0
"""As long as a request may take, with all its repetitions and its wait for others.
The supervisor answers in well under a millisecond."""

CONNECT_S = 2.0
"""As long as a request waits for a supervisor to be there: a successor needs 0.2 s."""

_ON_ITS_WAY_S = 0.2
"""Before its asker gives up, a request is no longer carried out: so that the reply to
one that was carried out still finds somebody. At most a tenth of what is waited."""

FIRST_CONNECT_S = 10.0
"""As long as a process waits that starts one itself, on a busy machine."""

_RETRY_S = 0.02
_FAIL_FAST_S = 0.5


def connect(directory: RuntimeDirectory, reply_s: float = REPLY_S) -> socket.socket:
    """Connect to the supervisor; one try.

    Args:
        directory: where it is.
        reply_s: seconds that each reply may take.

    Raises:
        OSError: nobody listens.
    """
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    try:
        sock.settimeout(reply_s)
        sock.connect(os.fspath(directory.socket))
    except BaseException:
        sock.close()
        raise
    return sock


def call(
    sock: socket.socket,
    request: Message,
    wait_s: float = REPLY_S,
    asked_ns: int | None = None,
) -> tuple[Message, int | None]:
    """Send one request and wait for its reply; the descriptor is the caller's.

    Args:
        sock: the connection.
        request: the operation and its fields.
        wait_s: seconds that the reply may take.
        asked_ns: when this was asked for first; None: now.

    Raises:
        OSError: the connection broke or the reply did not come in time.
        NoRoom: the supervisor has no room for it.
        StreamReplaced: there is a newer stream than the one that was asked for.
        ControlError: the supervisor refused it.
    """
    now_ns = clock.now_ns()
    until_s = wait_s - min(_ON_ITS_WAY_S, wait_s / 10)
    stamps = {
        'asked': now_ns if asked_ns is None else asked_ns,
        'until': now_ns + int(until_s * clock.NS),
    }
    deadline = time.monotonic() + wait_s
    sock.settimeout(wait_s)
    sock.sendall(encode(request | stamps))
    frames = FrameReader(MAX_REPLY)
    fd: int | None = None
    try:
        while True:
            # A reply that comes in pieces has no more time for it.
            sock.settimeout(_left(deadline))
            data, fds, _, _ = socket.recv_fds(sock, 1 << 16, 1, socket.MSG_CMSG_CLOEXEC)
            for received in fds:
                fd = received
            if not data:
                raise ConnectionResetError('the supervisor has gone')
            messages = frames.feed(data)
            if messages:
                reply = messages[0]
                break
        if not reply.get('ok'):
            raise _refusal(reply)
    except BaseException:
        if fd is not None:
            os.close(fd)
        raise
    return reply, fd


def _refusal(reply: Message) -> ShmstreamError:
    text = str(reply.get('error'))
    if reply.get('no_room'):
        return NoRoom(text)
    if reply.get('replaced'):
        return StreamReplaced(str(reply['replaced']))
    return ControlError(text)


def _left(deadline: float) -> float:
    # Never 0: that would be a socket that does not wait at all.
    return max(deadline - time.monotonic(), 0.001)


class ControlClient:
    """Keeps one connection and brings it back; thread-safe.

    The end of this connection is how the supervisor learns that this process has died,
    and how this process learns that the supervisor has.

    Args:
        directory: where the supervisor is.
        respawn: starts a supervisor if there is none; must be quick and idempotent.
        hello: the first request on every connection.
        greeted: called with the reply to it.
    """

    def __init__(
        self,
        directory: RuntimeDirectory,
        respawn: Callable[[], None],
        hello: Callable[[], Message],
        greeted: Callable[[Message], None],
    ) -> None:
        self._directory = directory
        self._respawn = respawn
        self._hello = hello
        self._greeted = greeted
        self._sock: socket.socket | None = None
        self._failed_at = -_FAIL_FAST_S
        self._lock = threading.Lock()

    def request(self, op: str, **fields: Any) -> tuple[Message, int | None]:
        """Ask for an operation; see ``wire`` for their fields.

        A connection that turns out to be dead is replaced, and the request made again,
        within the same time: all operations can be repeated (see ``wire``).

        Raises:
            SupervisorUnavailable: nobody was there within ``CONNECT_S``, or nobody
                answered within ``REPLY_S``.
            NoRoom, StreamReplaced, ControlError: as the supervisor said.
        """
        asked_ns = clock.now_ns()
        deadline = time.monotonic() + REPLY_S
        request: Message = {'op': op, **fields}
        with self._locked(deadline):
            connect_by = min(time.monotonic() + CONNECT_S, deadline)
            while True:
                sock = self._connected(connect_by, deadline)
                try:
                    return call(sock, request, _left(deadline), asked_ns)
                except OSError as ex:
                    self._drop()
                    if time.monotonic() >= connect_by:
                        raise SupervisorUnavailable(f'no reply: {ex}') from ex
                    request['again'] = True
                except BaseException as ex:
                    if not isinstance(ex, NoRoom | StreamReplaced | ControlError):
                        # Half a reply may be under way: it must not answer another.
                        self._drop()
                    raise

    def connect(self, wait_s: float = CONNECT_S) -> None:
        """Connect now rather than at the first request. Raises as ``request``."""
        deadline = time.monotonic() + max(wait_s, REPLY_S)
        with self._locked(deadline):
            connect_by = min(time.monotonic() + wait_s, deadline)
            self._connected(connect_by, deadline)

    @contextmanager
    def _locked(self, deadline: float) -> Iterator[None]:
        # Who queues behind a supervisor that does not come back gives up with the rest.
        if not self._lock.acquire(timeout=_left(deadline)):
            raise SupervisorUnavailable('too many requests wait for the supervisor')
        try:
            if time.monotonic() - self._failed_at < _FAIL_FAST_S:
                raise SupervisorUnavailable('the supervisor is still not there')
            yield
        finally:
            self._lock.release()

    def _connected(self, connect_by: float, deadline: float) -> socket.socket:
        while self._sock is None:
            try:
                sock = connect(self._directory, _left(deadline))
                try:
                    hello = {'op': 'hello', **self._hello()}
                    reply, _ = call(sock, hello, _left(deadline))
                    self._greeted(reply)
                except BaseException:
                    sock.close()
                    raise
                self._sock = sock
            except OSError as ex:
                now = time.monotonic()
                if now >= connect_by:
                    self._failed_at = now
                    raise SupervisorUnavailable(
                        f'no supervisor in {self._directory.path}: {ex.strerror or ex}'
                    ) from ex
                # One that hangs is there: a second one could not take its place.
                if isinstance(ex, FileNotFoundError | ConnectionError):
                    self._respawn()
                time.sleep(_RETRY_S)
        return self._sock

    def gone(self) -> bool:
        """Whether the connection has ended; does not wait, not even for a request."""
        if not self._lock.acquire(blocking=False):
            return False
        try:
            if self._sock is None:
                return True
            # MSG_DONTWAIT would not do: with a timeout set, Python polls first.
            self._sock.setblocking(False)
            try:
                ended = not self._sock.recv(1, socket.MSG_PEEK)
            except BlockingIOError:
                ended = False
            except OSError:
                ended = True
            if ended:
                self._drop()
            return ended
        finally:
            self._lock.release()

    def _drop(self) -> None:
        if self._sock is not None:
            self._sock.close()
            self._sock = None

    def abandon(self) -> None:
        """Close our copy of the descriptor after a fork; the parent keeps its own."""
        if self._sock is not None:
            self._sock.close()

    def close(self) -> None:
        """Leave: the supervisor takes it that this process has ended."""
        with self._lock:
            self._drop()
