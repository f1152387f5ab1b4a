"""The lock and the control socket of a supervisor, which it takes before it serves."""

from __future__ import annotations

import fcntl
import os
import socket

from shmstream.errors import DirectoryRefused, ShmstreamError
from shmstream.memory.directory import RuntimeDirectory


class AlreadyRunning(ShmstreamError):
    """Another supervisor holds the lock."""


def take_lock(directory: RuntimeDirectory) -> int:
    """Take the lock that makes a process *the* supervisor.

    Makes the runtime directory first, if it is missing.

    Returns:
        The descriptor that holds the lock.

    Raises:
        AlreadyRunning: another supervisor holds the lock.
        DirectoryRefused: as ``RuntimeDirectory.make``.
    """
    for _ in range(10):
        directory.make()
        try:
            fd = os.open(directory.lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except FileNotFoundError:
            continue
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # A supervisor that ends removes the file: this may have locked a file that
            # has no name any more.
            if os.fstat(fd).st_ino == os.stat(directory.lock).st_ino:
                return fd
        except BlockingIOError:
            os.close(fd)
            raise AlreadyRunning(f'{directory.path} has a supervisor') from None
        except FileNotFoundError:
            pass
        os.close(fd)
    raise AlreadyRunning(f'{directory.path}: the lock file keeps changing')


def listen(directory: RuntimeDirectory) -> socket.socket:
    """Return the listening control socket, private to this user.

    Raises:
        DirectoryRefused: a directory is in its place.
    """
    if directory.socket.is_dir():
        raise DirectoryRefused(f'{directory.socket} is a directory; remove it')
    directory.socket.unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    mask = os.umask(0o177)
    try:
        listener.bind(os.fspath(directory.socket))
    finally:
        os.umask(mask)
    listener.listen(128)
    listener.setblocking(False)
    return listener
