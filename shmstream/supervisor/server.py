"""The supervisor's loop: control socket, timers, masters; one thread, no waiting.

::

    start    flock supervisor.lock (a second supervisor ends here)
             adopt what a predecessor left, bind supervisor.sock
    serve    requests (``control.wire``)
             a connection ends  -> its worker has died: abort what it produced
             a master ends      -> the last one: stop
             every gc interval  -> collect
    stop     abort and evict every session, unlink bells, socket, table, lock
"""

from __future__ import annotations

import logging
import os
import selectors
import signal
import socket
import struct
import time
from collections.abc import Callable
from typing import Any

from shmstream.errors import ControlError
from shmstream.memory.directory import RuntimeDirectory
from shmstream.supervisor.config import SupervisorConfig
from shmstream.supervisor.connection import Connection
from shmstream.supervisor.masters import Masters
from shmstream.supervisor.operations import Operations
from shmstream.supervisor.registry import Registry
from shmstream.supervisor.startup import listen, open_table, remove, resolve, take_lock
from shmstream.supervisor.workers import Workers

log = logging.getLogger('shmstream.supervisor')

RETURN_S = 3.0
"""How long a predecessor's workers have to connect again before they count as dead."""

RECHECK_S = 1.0
"""How often streams are checked for producers that ended without their process."""

DYING_S = 0.05
"""How long after the end of a connection its streams are looked at again."""

ACCEPT_PAUSE_S = 1.0

ROOM_S = 0.2
"""How often memory is measured and what is left is published."""

_CREDENTIALS = struct.Struct('3i')
_MAX_PENDING = 64


class Supervisor:
    """One per runtime directory.

    Args:
        directory: the runtime directory; made if it is not there.
        config: limits and times.
        masters: the processes to work for; without any, until told to stop.

    Raises:
        AlreadyRunning: another supervisor holds the lock.
        DirectoryRefused: the directory is not private to this user.
    """

    def __init__(
        self, directory: RuntimeDirectory, config: SupervisorConfig, masters: list[int]
    ) -> None:
        self._directory = directory
        self._stopping = False
        # Without the lock, nothing in it is ours to make.
        made = directory.make()
        self._lock = take_lock(directory)
        # Our predecessor may have removed it before it let go of the lock.
        made = directory.create() or made
        config.save(directory.settings)
        self._config = config = resolve(config, directory)
        self._table = open_table(directory, made)
        self._workers = Workers(self._table, directory.table)
        self._registry = Registry(directory, config, self._table)
        self._registry.adopt()
        self._selector = selectors.DefaultSelector()
        self._masters = Masters(self._selector, self.stop, bool(masters))
        for pid in masters:
            self._masters.watch(pid)
        self._connections: set[Connection] = set()
        self._listener = listen(directory)
        self._accept_again = 0.0
        self._listen_on()
        # A signal writes to the one end, which ends the sleep on the other.
        self._woken, self._waker = socket.socketpair()
        self._waker.setblocking(False)
        self._selector.register(
            self._woken, selectors.EVENT_READ, lambda sock, _: sock.recv(64)
        )
        now = time.monotonic()
        self._returned_by = now + RETURN_S
        self._next_collect = now + config.gc_interval_s
        self._next_recheck = now
        self._next_room = now
        self._registry.look_at_room()
        self._operations = Operations(
            config, self._registry, self._workers, self._masters
        )

    # -- the loop --------------------------------------------------------------------

    def run(self) -> bool:
        """Serve until the last master has gone, or ``stop``.

        Returns:
            True if it has cleaned up; False if the directory was removed under it, and
            a successor has to begin anew.
        """
        while not self._stopping:
            due = min(self._next_room, self._next_recheck, self._next_collect)
            wait_s = due - time.monotonic()
            for key, mask in self._selector.select(max(wait_s, 0.0)):
                self._guard(key.data, key.fileobj, mask)
            if not self._holds_directory():
                log.error('%s was removed: starting over', self._directory.path)
                self._workers.close()
                return False
            self._guard(self._timers)
        self._close()
        return True

    def _guard(self, action: Callable[..., None], *args: Any) -> None:
        """Do something; whatever goes wrong there must not end everybody's streams."""
        try:
            action(*args)
        except Exception:
            log.exception('internal error')

    def _holds_directory(self) -> bool:
        try:
            there = os.stat(self._directory.lock)
        except FileNotFoundError:
            return False
        return os.path.samestat(there, os.fstat(self._lock))

    @property
    def has_masters(self) -> bool:
        """Whether there is somebody to work for."""
        return bool(self._masters.pids)

    @property
    def wakeup_fd(self) -> int:
        """Where ``signal.set_wakeup_fd`` should write."""
        return self._waker.fileno()

    def stop(self) -> None:
        """Leave the loop; may be called by a signal handler."""
        self._stopping = True

    def _timers(self) -> None:
        now = time.monotonic()
        if self._accept_again and now >= self._accept_again:
            self._accept_again = 0.0
            self._listen_on()
        if now >= self._next_recheck:
            # The end of a connection tells of a worker's death. As long as not all have
            # come back there is none that could: look more often.
            returning = now < self._returned_by
            self._next_recheck = now + (ROOM_S if returning else RECHECK_S)
            if now >= self._returned_by:
                self._workers.drop_absent()
            self._registry.finish_dead()
        if now >= self._next_room:
            self._next_room = now + ROOM_S
            self._registry.look_at_room()
        if now >= self._next_collect:
            self._next_collect = now + self._config.gc_interval_s
            self._registry.collect()

    def _close(self) -> None:
        self._listener.close()
        remove(self._directory.socket)
        self._registry.close()
        for connection in list(self._connections):
            connection.close()
        self._workers.close()
        remove(self._directory.table)
        remove(self._directory.settings)
        try:
            os.rmdir(self._directory.sessions)
        except OSError as ex:
            log.warning('%s is left: %s', self._directory.sessions, ex.strerror)
        # The lock goes last: whoever waits for it finds the directory clean.
        remove(self._directory.lock)
        if self._table.made_directory:
            try:
                os.rmdir(self._directory.path)
            except OSError as ex:
                log.warning('%s is left: %s', self._directory.path, ex.strerror)
        os.close(self._lock)

    def _listen_on(self) -> None:
        self._selector.register(self._listener, selectors.EVENT_READ, self._accept)

    # -- connections -----------------------------------------------------------------

    def _accept(self, listener: socket.socket, _: int) -> None:
        try:
            sock, _address = listener.accept()
        except BlockingIOError:
            return
        except OSError as ex:
            # Out of descriptors: the socket stays readable, so look away for a while.
            log.error('cannot accept: %s', ex)
            self._selector.unregister(listener)
            self._accept_again = time.monotonic() + ACCEPT_PAUSE_S
            return
        raw = sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
        _pid, uid, _gid = _CREDENTIALS.unpack(raw)
        if uid != os.geteuid():
            log.warning('refused a connection of user %d', uid)
            sock.close()
            return
        sock.setblocking(False)
        connection = Connection(sock)
        self._connections.add(connection)
        self._selector.register(
            sock,
            selectors.EVENT_READ,
            lambda _, mask: self._serve(connection, mask),
        )

    def _serve(self, connection: Connection, mask: int) -> None:
        try:
            if mask & selectors.EVENT_READ:
                data = connection.sock.recv(1 << 16)
                if not data:
                    self._ended(connection)
                    return
                for request in connection.frames.feed(data):
                    if len(connection.out) > _MAX_PENDING:
                        raise ControlError('it does not read its replies')
                    self._operations.answer(connection, request)
            pending = connection.flush()
        except BlockingIOError:
            return
        except (OSError, ControlError) as ex:
            if not isinstance(ex, ConnectionError):
                log.warning('dropped a control connection: %s', ex)
            self._ended(connection)
            return
        events = selectors.EVENT_READ | (selectors.EVENT_WRITE if pending else 0)
        self._selector.modify(
            connection.sock, events, self._selector.get_key(connection.sock).data
        )

    def _ended(self, connection: Connection) -> None:
        if connection not in self._connections:
            return
        self._selector.unregister(connection.sock)
        self._connections.discard(connection)
        connection.close()
        if connection.slot is not None:
            self._workers.left(connection.slot)
            # The kernel closes what it had one by one: its locks may not be free yet.
            soon = time.monotonic() + DYING_S
            self._next_recheck = min(self._next_recheck, soon)
            aborted = self._registry.finish_dead(connection.epoch)
            if aborted:
                log.warning('a worker died: aborted %d of its streams', aborted)


def install_signals(supervisor: Supervisor) -> None:
    """Have SIGTERM and SIGINT stop the supervisor, if it has no masters.

    With masters it leaves when they have: whoever signals all processes of a service
    at once (systemd does) would otherwise end every stream before the workers can.
    """

    def handle(_signum: int, _frame: object) -> None:
        if not supervisor.has_masters:
            supervisor.stop()

    signal.set_wakeup_fd(supervisor.wakeup_fd)
    signal.signal(signal.SIGTERM, handle)
    signal.signal(signal.SIGINT, handle)
