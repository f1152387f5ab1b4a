"""A worker's end of the control socket: one request at a time, every wait bounded."""

from __future__ import annotations

import array
import io
import os
import socket
import threading
import time
from collections.abc import Callable
from typing import Any, TypeVar

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

T = TypeVar('T')

_Received = tuple[bytes, list[tuple[int, int, bytes]], int, Any]

_READ = 1 << 16
_INT = array.array('i').itemsize

_RETRY_S = 0.02
_FAIL_FAST_S = 0.5


def connect(directory: RuntimeDirectory, reply_s: float = REPLY_S) -> socket.socket:
    """Connect to the supervisor; one try.

    Args:
        directory: where it is.
        reply_s: seconds that each reply may take, and the connection.

    Raises:
        OSError: nobody listens, or too many wait to be let in for all that time.
    """
    deadline = time.monotonic() + reply_s
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    try:
        sock.settimeout(reply_s)
        while True:
            try:
                sock.connect(os.fspath(directory.socket))
                break
            except BlockingIOError:
                # Its queue is full, and for a socket with a timeout the kernel does not
                # wait. That is a supervisor which is busy, not one that is not there.
                if time.monotonic() >= deadline:
                    raise
                time.sleep(_RETRY_S)
    except BaseException:
        sock.close()
        raise
    return sock


def _receive(sock: socket.socket) -> tuple[bytes, io.FileIO | None]:
    """Return what comes next, and the descriptor that came with it, as an owner.

    A descriptor that is a mere number is lost if a signal handler raises before it has
    been stored, and with it the lock that it holds. So C code stores it in a list, and
    the object that owns it from then on closes it when the last reference goes.
    """
    got: list[_Received] = []
    owners: list[io.FileIO] = []
    space, flags = socket.CMSG_SPACE(_INT), socket.MSG_CMSG_CLOEXEC
    try:
        got.extend(map(sock.recvmsg, (_READ,), (space,), (flags,)))
        owners.extend(map(io.FileIO, _passed(got), ('r+',)))
        return got[0][0], owners[0] if owners else None
    except BaseException:
        for owner in owners:
            owner.close()
        if not owners:
            for number in _passed(got):
                os.close(number)
        raise


def _passed(
    got: list[_Received],
) -> list[int]:
    return [
        number
        for _, ancillary, _, _ in got
        for _, kind, raw in ancillary
        if kind == socket.SCM_RIGHTS
        for number in array.array('i', raw[: len(raw) // _INT * _INT])
    ]


def call(
    sock: socket.socket,
    request: Message,
    wait_s: float = REPLY_S,
    asked_ns: int | None = None,
) -> tuple[Message, io.FileIO | None]:
    """Send one request and wait for its reply; the descriptor is the caller's.

    Args:
        sock: the connection.
        request: the operation and its fields.
        wait_s: seconds that the reply may take.
        asked_ns: when this was asked for first; None: now.

    Raises:
        OSError: the connection broke or the reply did not come in time.
        SupervisorUnavailable: the supervisor found that it was too late to answer.
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
    replies: list[Message] = []
    fd: io.FileIO | None = None
    came: io.FileIO | None = None
    try:
        while True:
            # A reply that comes in pieces has no more time for it.
            sock.settimeout(_left(deadline))
            data, came = _receive(sock)
            fd = came or fd
            if not data:
                raise ConnectionResetError('the supervisor has gone')
            replies += frames.feed(data)
            if replies and not replies[-1].get('more'):
                break
        reply = replies[0]
        for further in replies[1:]:
            reply['sessions'] += further['sessions']
        if not reply.get('ok'):
            raise _refusal(reply)
        return reply, fd
    except BaseException:
        # Whoever keeps the exception keeps what these names stand for.
        for each in (fd, came):
            if each is not None:
                each.close()
        raise


def _refusal(reply: Message) -> ShmstreamError:
    text = str(reply.get('error'))
    if reply.get('no_room'):
        error = NoRoom(text)
        error.soon = bool(reply.get('soon'))
        return error
    if reply.get('late'):
        # It had been stopped, and went on when we were about to give up.
        return SupervisorUnavailable(f'no reply in time: {text}')
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
        # Reentrant only so that whoever is interrupted can tell whether it holds it.
        self._lock = threading.RLock()
        self._busy = False

    def request(self, op: str, **fields: Any) -> tuple[Message, io.FileIO | None]:
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
        return self._alone(deadline, lambda: self._ask(request, asked_ns, deadline))

    def _ask(
        self, request: Message, asked_ns: int, deadline: float
    ) -> tuple[Message, io.FileIO | None]:
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
                if not isinstance(ex, ShmstreamError):
                    # Half a reply may be under way: it must not answer another.
                    self._drop()
                raise

    def connect(self, wait_s: float = CONNECT_S) -> None:
        """Connect now rather than at the first request. Raises as ``request``."""
        deadline = time.monotonic() + max(wait_s, REPLY_S)
        connect_by = min(time.monotonic() + wait_s, deadline)
        self._alone(deadline, lambda: self._connected(connect_by, deadline))

    def _alone(self, deadline: float, act: Callable[[], T]) -> T:
        """Return what this returns, done while no other thread asks.

        In one function, and no context manager: CPython looks for signals after a call
        and not before, so what a handler raises cannot leave the lock taken, for
        everybody, if it is taken within this try and let go in its end.
        """
        mine = False
        try:
            # Who queues behind a supervisor that does not come back gives up with the
            # rest; so does a handler that asks while what it interrupts is asking.
            if not self._lock.acquire(timeout=_left(deadline)) or self._busy:
                raise SupervisorUnavailable('too many requests wait for the supervisor')
            if time.monotonic() - self._failed_at < _FAIL_FAST_S:
                raise SupervisorUnavailable('the supervisor is still not there')
            self._busy = mine = True
            found = act()
            return found
        finally:
            if mine:
                self._busy = False
            try:  # noqa: SIM105  ``suppress`` is code that may be interrupted as well
                self._lock.release()
            except RuntimeError:
                # It has not been ours.
                pass

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
