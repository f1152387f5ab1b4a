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
"""As long as a request waits for a supervisor to be there: a successor needs 0.2 s."""

FIRST_CONNECT_S = 10.0
"""As long as a process waits that starts one itself, on a busy machine."""

T = TypeVar('T')

_FAIL_FAST_S = 0.5


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
                return call(sock, request, left_s(deadline), asked_ns)
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
            if not self._lock.acquire(timeout=left_s(deadline)) or self._busy:
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
                if now >= connect_by:
                    self._failed_at = now
                    raise SupervisorUnavailable(
                        f'no supervisor in {self._directory.path}: {ex.strerror or ex}'
                    ) from ex
                # One that hangs is there: a second one could not take its place.
                if isinstance(ex, FileNotFoundError | ConnectionError):
                    self._respawn()
                time.sleep(RETRY_S)
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
