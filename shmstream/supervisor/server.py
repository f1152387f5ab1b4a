"""The supervisor's loop: control socket, timers, masters; one thread, no waiting.

::

    start    flock supervisor.lock (a second supervisor ends here)
             adopt what a predecessor left, bind supervisor.sock
    serve    requests (``control.wire``)
             a connection ends  -> its worker has died: abort what it produced
             a master ends      -> the last one: stop
             every gc interval  -> collect
    stop     abort and evict every session, unlink semaphores, socket, table, lock
"""

from __future__ import annotations

import fcntl
import logging
import os
import selectors
import signal
import socket
import stat
import struct
import time
from collections import deque
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from shmstream.control.wire import MAX_REQUEST, FrameReader, Message, encode
from shmstream.errors import (
    ControlError,
    DirectoryRefused,
    LayoutMismatch,
    NoRoom,
    ShmstreamError,
    SupervisorUnavailable,
)
from shmstream.ids import OWNER_BYTES
from shmstream.memory.directory import RuntimeDirectory
from shmstream.memory.table import WorkerTable
from shmstream.supervisor.config import SupervisorConfig
from shmstream.supervisor.masters import Masters
from shmstream.supervisor.registry import Registry, Session
from shmstream.supervisor.workers import Workers

log = logging.getLogger('shmstream.supervisor')

RETURN_S = 3.0
"""How long a predecessor's workers have to connect again before they count as dead."""

RECHECK_S = 1.0
"""How often streams are checked for producers that ended without their process."""

ACCEPT_PAUSE_S = 1.0

ROOM_S = 0.2
"""How often memory is measured and what is left is published."""

_CREDENTIALS = struct.Struct('3i')
_MAX_PENDING = 64


class AlreadyRunning(ShmstreamError):
    """Another supervisor holds the lock."""


class Connection:
    """One worker's control connection."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.frames = FrameReader(MAX_REQUEST)
        self.slot: int | None = None
        self.epoch = 0
        self.out: deque[tuple[memoryview, int | None]] = deque()

    def send(self, reply: Message, fd: int | None = None) -> None:
        """Queue a reply; the descriptor is ours to close once it has been sent."""
        self.out.append((memoryview(encode(reply)), fd))

    def flush(self) -> bool:
        """Send what the socket takes; return whether something is left."""
        while self.out:
            data, fd = self.out[0]
            try:
                if fd is None:
                    sent = self.sock.send(data, socket.MSG_NOSIGNAL)
                else:
                    sent = socket.send_fds(self.sock, [data], [fd])
                    os.close(fd)
            except BlockingIOError:
                return True
            if sent == len(data):
                self.out.popleft()
            else:
                self.out[0] = (data[sent:], None)
        return False

    def close(self) -> None:
        """Close the socket and what was still to be sent."""
        for _, fd in self.out:
            if fd is not None:
                os.close(fd)
        self.out.clear()
        self.sock.close()


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
        made = directory.create()
        self._lock = _take_lock(directory)
        # Our predecessor may have removed it before it let go of the lock.
        made = directory.create() or made
        config.save(directory.settings)
        self._config = config = _resolve(config, directory)
        self._table = _open_table(directory, made)
        self._workers = Workers(self._table)
        self._registry = Registry(directory, config, self._table)
        self._registry.adopt()
        self._selector = selectors.DefaultSelector()
        self._masters = Masters()
        self._has_masters = bool(masters)
        for pid in masters:
            self._watch_master(pid)
        self._connections: set[Connection] = set()
        self._listener = _listen(directory)
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
        self._operations: dict[str, Callable[[Connection, Message], None]] = {
            'hello': self._hello,
            'join': self._join,
            'leave': self._leave,
            'create': self._create,
            'cancel': self._cancel,
            'evict': self._evict,
            'lookup': self._lookup,
            'list': self._list,
            'status': self._status,
            'room': self._room,
        }

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
            return os.stat(self._directory.lock).st_ino == os.fstat(self._lock).st_ino
        except FileNotFoundError:
            return False

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
            self._next_recheck = now + RECHECK_S
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
        _remove(self._directory.socket)
        self._registry.close()
        for connection in list(self._connections):
            connection.close()
        self._workers.close()
        _remove(self._directory.table)
        _remove(self._directory.settings)
        try:
            os.rmdir(self._directory.sessions)
        except OSError as ex:
            log.warning('%s is left: %s', self._directory.sessions, ex.strerror)
        # The lock goes last: whoever waits for it finds the directory clean.
        _remove(self._directory.lock)
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
                    self._answer(connection, request)
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
            aborted = self._registry.finish_dead(connection.epoch)
            if aborted:
                log.warning('a worker died: aborted %d of its streams', aborted)

    def _answer(self, connection: Connection, request: Message) -> None:
        operation = self._operations.get(str(request.get('op')))
        try:
            if operation is None:
                raise ControlError(f'no such operation: {request.get("op")!r}')
            operation(connection, request)
        except NoRoom as ex:
            connection.send({'ok': False, 'error': str(ex), 'no_room': True})
        except Exception as ex:
            if not isinstance(ex, ShmstreamError | KeyError | TypeError | ValueError):
                log.exception('%s failed', request['op'])
            connection.send({'ok': False, 'error': f'{type(ex).__name__}: {ex}'})

    # -- operations ------------------------------------------------------------------

    def _hello(self, connection: Connection, request: Message) -> None:
        if connection.slot is not None:
            raise ControlError('hello was said already')
        for pid in request['masters']:
            self._watch_master(int(pid))
        connection.slot, connection.epoch = self._workers.hello(
            int(request['pid']), request.get('slot'), request.get('epoch')
        )
        connection.send(
            {'ok': True, 'slot': connection.slot, 'epoch': connection.epoch}
        )

    def _join(self, connection: Connection, request: Message) -> None:
        self._watch_master(int(request['pid']))
        connection.send({'ok': True})

    def _leave(self, connection: Connection, request: Message) -> None:
        fd = self._masters.find(int(request['pid']))
        if fd is not None:
            self._master_ended(fd, 0)
        connection.send({'ok': True})
        connection.flush()

    def _create(self, connection: Connection, request: Message) -> None:
        if connection.slot is None:
            raise ControlError('hello first')
        session, locked = self._registry.create(
            _owner(request),
            str(request['id']),
            request.get('capacity'),
            connection.epoch,
        )
        connection.send(
            {
                'ok': True,
                'generation': session.segment.generation,
                'digest': session.digest,
            },
            locked,
        )

    def _cancel(self, connection: Connection, request: Message) -> None:
        session = self._find(request)
        if session is not None:
            self._registry.cancel(session)
        connection.send({'ok': True, 'found': session is not None})

    def _evict(self, connection: Connection, request: Message) -> None:
        session = self._find(request)
        if session is not None:
            self._registry.evict(session)
        connection.send({'ok': True, 'found': session is not None})

    def _find(self, request: Message) -> Session | None:
        return self._registry.find(
            _owner(request), str(request['id']), request.get('generation')
        )

    def _lookup(self, connection: Connection, request: Message) -> None:
        ids = [str(conv_id) for conv_id in request['ids']]
        sessions = self._registry.lookup(_owner(request), ids)
        connection.send({'ok': True, 'sessions': sessions})

    def _list(self, connection: Connection, _: Message) -> None:
        connection.send({'ok': True, 'sessions': self._registry.describe_all()})

    def _status(self, connection: Connection, _: Message) -> None:
        status: dict[str, Any] = {
            'ok': True,
            'pid': os.getpid(),
            'masters': self._masters.pids,
            'sessions': len(self._registry),
            'max_sessions': self._config.max_sessions,
            'memory': self._registry.memory(),
            'max_memory': self._config.max_memory,
        }
        connection.send(status)

    def _room(self, connection: Connection, _: Message) -> None:
        self._registry.look_at_room()
        connection.send({'ok': True})

    # -- masters ---------------------------------------------------------------------

    def _watch_master(self, pid: int) -> None:
        fd = self._masters.add(pid)
        if fd is not None:
            self._has_masters = True
            self._selector.register(fd, selectors.EVENT_READ, self._master_ended)
        elif self._has_masters and not self._masters.pids:
            self.stop()

    def _master_ended(self, fd: Any, _: int) -> None:
        if fd not in self._masters:
            return
        self._selector.unregister(fd)
        self._masters.remove(fd)
        if not self._masters.pids:
            self.stop()


def _owner(request: Message) -> bytes:
    owner = bytes.fromhex(str(request['owner']))
    if len(owner) != OWNER_BYTES:
        raise ControlError(f'owner must be {OWNER_BYTES} bytes')
    return owner


def _take_lock(directory: RuntimeDirectory) -> int:
    for _ in range(10):
        try:
            fd = os.open(directory.lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except FileNotFoundError:
            directory.create()
            continue
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # A supervisor that ends removes the file: we may hold what is no more.
            if os.fstat(fd).st_ino == os.stat(directory.lock).st_ino:
                return fd
        except BlockingIOError:
            os.close(fd)
            raise AlreadyRunning(f'{directory.path} has a supervisor') from None
        except FileNotFoundError:
            directory.create()
        os.close(fd)
    raise AlreadyRunning(f'{directory.path}: the lock file keeps changing')


def _open_table(directory: RuntimeDirectory, made: bool) -> WorkerTable:
    try:
        return WorkerTable.attach(directory.table)
    except SupervisorUnavailable:
        return WorkerTable.create(directory.table, made)
    except LayoutMismatch as ex:
        raise DirectoryRefused(
            f"{directory.table}: {ex}; is {directory.path} somebody else's?"
            ' If not, remove it'
        ) from ex


def _listen(directory: RuntimeDirectory) -> socket.socket:
    _remove(directory.socket)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    mask = os.umask(0o177)
    try:
        listener.bind(os.fspath(directory.socket))
    finally:
        os.umask(mask)
    listener.listen(128)
    listener.setblocking(False)
    return listener


def _resolve(config: SupervisorConfig, directory: RuntimeDirectory) -> SupervisorConfig:
    if config.max_memory:
        return config
    room = os.statvfs(directory.path)
    return replace(config, max_memory=room.f_bavail * room.f_frsize // 2)


def _remove(path: Any) -> None:
    try:
        found = os.lstat(path)
        if not stat.S_ISDIR(found.st_mode):
            os.unlink(path)
    except FileNotFoundError:
        pass


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
