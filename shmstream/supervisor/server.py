"""The supervisor's loop: control socket, timers and masters, in one thread.

::

    start    flock supervisor.lock (a second supervisor ends here)
             adopt the life of the deployment, or begin another (``life``)
             adopt the sessions, bind supervisor.sock
    serve    requests (``control.wire``)
             a connection ends  -> its worker has died: abort the worker's streams
             the last master ends -> stop
             every gc interval  -> collect
    stop     abort and evict every session, unlink bells, socket, table, lock
"""

from __future__ import annotations

import functools
import logging
import os
import selectors
import signal
import socket
import struct
import time

from shmstream.errors import ControlError
from shmstream.guarded_chores import GuardedChores
from shmstream.memory.directory import RuntimeDirectory
from shmstream.metrics.own_counts import OwnCounts
from shmstream.supervisor.adoption import RETURN_S
from shmstream.supervisor.bells_check import check_bells
from shmstream.supervisor.config import SupervisorConfig
from shmstream.supervisor.connection import Connection
from shmstream.supervisor.leftovers import Leftovers
from shmstream.supervisor.life import begin
from shmstream.supervisor.lock_and_socket import listen, take_lock
from shmstream.supervisor.master_watch import MasterWatch
from shmstream.supervisor.operations import Operations
from shmstream.supervisor.periodic_chores import ROOM_S, start_chores
from shmstream.supervisor.process_limits import within_reach
from shmstream.supervisor.registry import Registry
from shmstream.supervisor.timers import Timers
from shmstream.supervisor.workers import Workers

log = logging.getLogger('shmstream.supervisor')

ACCEPT_PAUSE_S = 1.0
"""Seconds without accepting connections, once the descriptors have run out."""

DYING_S = 0.05
"""Seconds that a process may take from the end of its connection to its own end."""

_CREDENTIALS = struct.Struct('3i')
_MAX_PENDING = 64


class Supervisor:
    """One per runtime directory.

    Args:
        directory: the runtime directory; made if it does not exist.
        config: limits and times for a new life of the deployment (``life``); None:
            those of the last life.
        masters: the processes to work for; without any, it works until told to stop.

    Raises:
        AlreadyRunning: another supervisor holds the lock.
        DirectoryRefused: the directory is not private to this user, or others use it.
    """

    def __init__(
        self,
        directory: RuntimeDirectory,
        config: SupervisorConfig | None,
        masters: list[int],
    ) -> None:
        self._directory = directory
        self._stopping = False
        # The lock comes first: without it, a process must make nothing in the
        # directory.
        self._lock = take_lock(directory)
        try:
            # A predecessor that just ended may have removed the folder of sessions.
            directory.create()
            self._begin(config, masters)
        except BaseException:
            self._give_up()
            raise

    def _begin(self, config: SupervisorConfig | None, masters: list[int]) -> None:
        directory = self._directory
        check_bells(directory)
        self._table, config = begin(directory, config)
        config = within_reach(config)
        self._counts = OwnCounts.open(directory.metrics, self._table)
        self._workers = Workers(self._table, directory.table, self._counts)
        self._registry = Registry(directory, config, self._table, self._counts)
        self._registry.adopt()
        self._selector = selectors.DefaultSelector()
        self._masters = MasterWatch(self._selector, self.stop, bool(masters))
        for pid in masters:
            self._masters.watch(pid)
        self._connections: set[Connection] = set()
        self._listener = listen(directory)
        self._listen_on()
        # A signal writes to one end, and so wakes the loop, which waits on the other
        # end.
        self._woken, self._waker = socket.socketpair()
        self._waker.setblocking(False)
        self._selector.register(
            self._woken, selectors.EVENT_READ, lambda sock, _: sock.recv(64)
        )
        self._chores = GuardedChores('supervisor')
        self._timers = Timers(self._chores)
        self._returned_by = time.monotonic() + RETURN_S
        start_chores(
            self._timers,
            self._workers,
            self._registry,
            self._finish_dead,
            config.gc_interval_s,
        )
        self._registry.look_at_room()
        self._operations = Operations(
            config, self._registry, self._workers, self._masters
        )

    # -- the loop --------------------------------------------------------------------

    def run(self) -> bool:
        """Serve until the last master has gone, or ``stop``.

        Returns:
            True if it has cleaned up; False if somebody has removed the directory, and
            a successor has to begin anew.
        """
        while not self._stopping:
            for key, mask in self._selector.select(self._timers.wait_s):
                event = functools.partial(key.data, key.fileobj, mask)
                self._chores.do('an event', event, None)
            if not self._holds_directory():
                log.error('%s was removed: starting over', self._directory.path)
                self._workers.close()
                return False
            self._timers.run()
        self._close()
        return True

    def _holds_directory(self) -> bool:
        try:
            there = os.stat(self._directory.lock)
        except FileNotFoundError:
            return False
        return os.path.samestat(there, os.fstat(self._lock))

    @property
    def has_masters(self) -> bool:
        """Whether there is a master to work for."""
        return bool(self._masters.pids)

    @property
    def wakeup_fd(self) -> int:
        """The descriptor for ``signal.set_wakeup_fd``."""
        return self._waker.fileno()

    def stop(self) -> None:
        """Leave the loop; may be called by a signal handler."""
        self._stopping = True

    def _finish_dead(self) -> None:
        self._registry.finish_dead()
        # A worker that dies before it has connected to this supervisor ends no
        # connection here. So check more often while workers may still come back.
        if time.monotonic() < self._returned_by:
            self._timers.hasten('dead producers', ROOM_S)

    def _close(self) -> None:
        leftovers = Leftovers()
        self._listener.close()
        # Nobody connects any more while the sessions end.
        leftovers.remove_file(self._directory.socket)
        self._registry.close(leftovers)
        for connection in list(self._connections):
            connection.close()
        self._workers.close()
        leftovers.remove_files(self._directory, self._table.token)
        self._remove_rest(leftovers)
        leftovers.report()

    def _give_up(self) -> None:
        """Remove what a failed start has made, and nothing else."""
        self._remove_rest(Leftovers())

    def _remove_rest(self, leftovers: Leftovers) -> None:
        leftovers.remove_folders(self._directory)
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
            # There are no descriptors left. The listening socket stays readable, so it
            # is ignored for a while.
            log.error('cannot accept: %s', ex)
            self._selector.unregister(listener)
            self._timers.once('accepting', ACCEPT_PAUSE_S, self._listen_on)
            return
        raw = sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
        _pid, uid, _gid = _CREDENTIALS.unpack(raw)
        # Root may connect: a master may run as root, and its workers as this user.
        if uid not in (0, os.geteuid()):
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
                        raise ControlError('the peer does not read its replies')
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
            # The kernel closes a dying process's descriptors one by one: its locks may
            # not be free yet.
            self._timers.hasten('slots', DYING_S)
            self._timers.hasten('dead producers', DYING_S)
            aborted = self._registry.finish_dead(connection.epoch)
            if aborted:
                log.warning('a worker died: aborted %d of its streams', aborted)


def install_signals(supervisor: Supervisor) -> None:
    """Have SIGTERM and SIGINT stop the supervisor, if it has no masters.

    With masters it ignores them, and stops when the last master has gone: systemd
    signals all processes of a service at once, and would otherwise end every stream
    before the workers can.
    """

    def handle(_signum: int, _frame: object) -> None:
        if not supervisor.has_masters:
            supervisor.stop()

    signal.set_wakeup_fd(supervisor.wakeup_fd)
    signal.signal(signal.SIGTERM, handle)
    signal.signal(signal.SIGINT, handle)
