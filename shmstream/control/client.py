"""A worker's end of the control socket: one request at a time, every wait bounded."""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from shmstream.control.wire import MAX_REPLY, FrameReader, Message, encode
from shmstream.errors import ControlError, NoRoom, SupervisorUnavailable
from shmstream.memory.directory import RuntimeDirectory

REPLY_S = 5.0
"""As long as one reply may take. The supervisor answers in well under a millisecond."""

CONNECT_S = 2.0
"""As long as a request waits for a supervisor to be there: a successor needs 0.2 s."""

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


def call(sock: socket.socket, request: Message) -> tuple[Message, int | None]:
    """Send one request and wait for its reply; the descriptor is the caller's.

    Raises:
        OSError: the connection broke or the reply did not come in time.
        NoRoom: the supervisor has no room for it.
        ControlError: the supervisor refused it.
    """
    sock.sendall(encode(request))
    frames = FrameReader(MAX_REPLY)
    fd: int | None = None
    try:
        while True:
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
            text = str(reply.get('error'))
            raise NoRoom(text) if reply.get('no_room') else ControlError(text)
    except BaseException:
        if fd is not None:
            os.close(fd)
        raise
    return reply, fd


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

        A connection that turns out to be dead is replaced, and the request made again:
        all operations can be repeated.

        Raises:
            SupervisorUnavailable: nobody answered within ``CONNECT_S``.
            NoRoom, ControlError: as the supervisor said.
        """
        deadline = time.monotonic() + CONNECT_S
        with self._locked():
            while True:
                sock = self._connected(deadline)
                try:
                    return call(sock, {'op': op, **fields})
                except OSError as ex:
                    self._drop()
                    if time.monotonic() >= deadline:
                        raise SupervisorUnavailable(f'no reply: {ex}') from ex
                except BaseException as ex:
                    if not isinstance(ex, NoRoom | ControlError):
                        # Half a reply may be under way: it must not answer another.
                        self._drop()
                    raise

    def connect(self, wait_s: float = CONNECT_S) -> None:
        """Connect now rather than at the first request. Raises as ``request``."""
        with self._locked():
            self._connected(time.monotonic() + wait_s)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        # Who queues behind a supervisor that does not come back gives up with the rest.
        if not self._lock.acquire(timeout=CONNECT_S + REPLY_S):
            raise SupervisorUnavailable('too many requests wait for the supervisor')
        try:
            if time.monotonic() - self._failed_at < _FAIL_FAST_S:
                raise SupervisorUnavailable('the supervisor is still not there')
            yield
        finally:
            self._lock.release()

    def _connected(self, deadline: float) -> socket.socket:
        while self._sock is None:
            try:
                sock = connect(self._directory)
                try:
                    reply, _ = call(sock, {'op': 'hello', **self._hello()})
                    self._greeted(reply)
                except BaseException:
                    sock.close()
                    raise
                self._sock = sock
            except OSError as ex:
                now = time.monotonic()
                if now >= deadline:
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
            self._sock.settimeout(REPLY_S)
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
