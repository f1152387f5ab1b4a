"""What a supervisor does before it serves: lock, worker table, control socket."""

from __future__ import annotations

import fcntl
import os
import socket
import stat
from dataclasses import replace
from pathlib import Path

from shmstream.errors import (
    DirectoryRefused,
    LayoutMismatch,
    ShmstreamError,
    SupervisorUnavailable,
)
from shmstream.memory.directory import RuntimeDirectory
from shmstream.memory.table import WorkerTable
from shmstream.supervisor.config import SupervisorConfig


class AlreadyRunning(ShmstreamError):
    """Another supervisor holds the lock."""


def take_lock(directory: RuntimeDirectory) -> int:
    """Take the lock that makes a process *the* supervisor; returns its descriptor.

    Raises:
        AlreadyRunning: another one holds it.
    """
    for _ in range(10):
        try:
            fd = os.open(directory.lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except FileNotFoundError:
            directory.make()
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
            directory.make()
        os.close(fd)
    raise AlreadyRunning(f'{directory.path}: the lock file keeps changing')


def open_table(directory: RuntimeDirectory, made: bool) -> WorkerTable:
    """Return the predecessor's worker table, or a new one.

    Raises:
        DirectoryRefused: there is a file of that name that is no worker table.
    """
    try:
        return WorkerTable.attach(directory.table)
    except SupervisorUnavailable:
        return WorkerTable.create(directory.table, made)
    except LayoutMismatch as ex:
        raise DirectoryRefused(
            f"{directory.table}: {ex}; is {directory.path} somebody else's?"
            ' If not, remove it'
        ) from ex


def listen(directory: RuntimeDirectory) -> socket.socket:
    """Return the listening control socket, private to this user."""
    remove(directory.socket)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    mask = os.umask(0o177)
    try:
        listener.bind(os.fspath(directory.socket))
    finally:
        os.umask(mask)
    listener.listen(128)
    listener.setblocking(False)
    return listener


def resolve(config: SupervisorConfig, directory: RuntimeDirectory) -> SupervisorConfig:
    """Return the configuration with a limit on memory in bytes."""
    if config.max_memory:
        return config
    room = os.statvfs(directory.path)
    return replace(config, max_memory=room.f_bavail * room.f_frsize // 2)


def remove(path: Path) -> None:
    """Remove a file if it is there."""
    try:
        found = os.lstat(path)
        if not stat.S_ISDIR(found.st_mode):
            os.unlink(path)
    except FileNotFoundError:
        pass
