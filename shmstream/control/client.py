"""A worker's end of the control socket: one request at a time, every wait bounded."""

from __future__ import annotations

import io
import socket
import threading
import time
from collections.abc import Callable
from typing import Any, TypeVar

from shmstream import clock
from shmstream.control.request import REPLY_S, RETRY_S, call, connect, left_s
from shmstream.control.wire import Message
from shmstream.errors import ShmstreamError, SupervisorUnavailable
from shmstream.memory.directory import RuntimeDirectory

CONNECT_S = 2.0
"""Seconds that a request waits for a connection: a new supervisor needs 0.2 s."""

FIRST_CONNECT_S = 20.0
"""Seconds that a process waits for a supervisor that it starts, on a busy machine. Less
than gunicorn's ``timeout``, after which a worker that still waits is killed."""

T = TypeVar('T')

_FAIL_FAST_S = 0.5
"""Seconds after a vain wait for a supervisor in which no request waits again."""


class ControlClient:
    """Keeps one connection to the supervisor, and makes it anew; thread-safe.

    When the connection ends, the supervisor takes it that this process has died, and
    this process takes it that the supervisor has.

    Args:
        directory: the runtime directory of the supervisor.
        respawn: starts a supervisor if there is none; must be quick and idempotent.
        hello: returns the fields of ``hello``, the first request on each connection.
        greeted: called with the reply to ``hello``.
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
        self._absent = False
        # Reentrant, so that ``release`` raises in a thread that does not hold it, and
        # a signal handler does not wait for the request that it has interrupted.
        self._lock = threading.RLock()
        self._busy = False

    def request(self, op: str, **fields: Any) -> tuple[Message, io.FileIO | None]:
        """Make a request; ``wire`` lists the operations and their fields.

        If the connection is dead, a new one is made and the request is made again,
        within the same time: every operation can be repeated (see ``wire``).

        Returns:
            The reply, and the descriptor that came with it, if any.

        Raises:
            SupervisorUnavailable: no supervisor could be connected to within
                ``CONNECT_S``, or no reply came within ``REPLY_S``.
            NoRoom, StreamReplaced, ControlError: the supervisor replied so.
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
                return call(sock, request, left_s(deadline), asked_ns)
            except OSError as ex:
                self._drop()
                if time.monotonic() >= connect_by:
                    raise SupervisorUnavailable(f'no reply: {ex}') from ex
                request['again'] = True
            except BaseException as ex:
                if not isinstance(ex, ShmstreamError):
                    # The rest of a reply may still come on this connection: it must not
                    # be taken for the reply to another request.
                    self._drop()
                raise

    def connect(self, wait_s: float = CONNECT_S) -> None:
        """Connect now rather than at the first request. Raises as ``request``."""
        deadline = time.monotonic() + max(wait_s, REPLY_S)
        connect_by = min(time.monotonic() + wait_s, deadline)
        self._alone(deadline, lambda: self._connected(connect_by, deadline))

    def _alone(self, deadline: float, act: Callable[[], T]) -> T:
        """Call ``act`` while no other thread makes a request; return its result.

        This is one function and no context manager, because of signal handlers that
        raise. CPython runs them after a call and not before, so if the lock is acquired
        within this ``try`` and released in its ``finally``, it is never left locked.
        """
        mine = False
        try:
            # Threads that wait here give up at their deadlines too. A signal handler
            # that interrupts a request of its own thread (``_busy``) gives up at once.
            if not self._lock.acquire(timeout=left_s(deadline)) or self._busy:
                raise SupervisorUnavailable('too many requests wait for the supervisor')
            soon = time.monotonic() - self._failed_at < _FAIL_FAST_S
            if self._sock is None and soon and not self._is_back():
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
                # This thread did not hold it.
                pass

    def _is_back(self) -> bool:
        """Whether a supervisor has come since the wait that was vain.

        One that was there and did not answer is not tried: that would be a wait again.
        """
        if not self._absent:
            return False
        try:
            connect(self._directory, 0).close()
        except BlockingIOError:
            # It is there, and others connect to it.
            return True
        except OSError:
            return False
        return True

    def _connected(self, connect_by: float, deadline: float) -> socket.socket:
        while self._sock is None:
            try:
                sock = connect(self._directory, left_s(deadline))
                try:
                    hello = {'op': 'hello', **self._hello()}
                    reply, _ = call(sock, hello, left_s(deadline))
                    self._greeted(reply)
                except BaseException:
                    sock.close()
                    raise
                self._sock = sock
            except OSError as ex:
                now = time.monotonic()
                absent = isinstance(ex, FileNotFoundError | ConnectionError)
                if now >= connect_by:
                    self._failed_at, self._absent = now, absent
                    raise SupervisorUnavailable(
                        f'no supervisor in {self._directory.path}: {ex.strerror or ex}'
                    ) from ex
                # Only if there is none: a second one could not replace one that hangs.
                if absent:
                    self._respawn()
                time.sleep(RETRY_S)
        return self._sock

    def gone(self) -> bool:
        """Whether the connection has ended; waits for nothing.

        Returns False while another thread makes a request.
        """
        if not self._lock.acquire(blocking=False):
            return False
        try:
            if self._sock is None:
                return True
            # MSG_DONTWAIT is not enough: if the socket has a timeout, Python polls
            # first.
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
        """Close the child's copy of the descriptor after a fork."""
        if self._sock is not None:
            self._sock.close()

    def close(self) -> None:
        """Close the connection: the supervisor takes it that this process has ended."""
        with self._lock:
            self._drop()
