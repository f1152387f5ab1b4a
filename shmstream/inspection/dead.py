"""What a dead deployment has left in its runtime directory, and how it is removed.

A deployment that is killed all at once, with its supervisor, leaves its directory. The
next start in this directory would serve its ended streams again, and remove the rest.

The kernel's locks, which end with their holders, say whether a deployment lives::

    the supervisor's socket answers     it lives
    a byte of the worker table's file   a worker lives, and will start a supervisor
      is locked
    none of the two                     it is dead

To remove it, the locks themselves are taken, as a supervisor takes them, so nobody can
begin a deployment there meanwhile.
"""

from __future__ import annotations

import contextlib
import os
import re
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from shmstream.errors import DirectoryRefused, ShmstreamError
from shmstream.inspection.asking import answers
from shmstream.memory.directory import (
    GONE_PREFIX,
    KEPT_PREFIX,
    NEW_PREFIX,
    RuntimeDirectory,
)
from shmstream.memory.file_locks import is_locked
from shmstream.memory.slot_locks import SlotLocks
from shmstream.memory.worker_table import read_head
from shmstream.ring.layout import MAX_SLOTS
from shmstream.supervisor.leftovers import Leftovers
from shmstream.supervisor.life import being_written
from shmstream.supervisor.lock_and_socket import AlreadyRunning, take_lock
from shmstream.wakeups.pipe import PIPE_PREFIX

SHARED_MEMORY = Path('/dev/shm')

_BLOCK = 512
_READ = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
_ASIDE = (NEW_PREFIX, GONE_PREFIX, KEPT_PREFIX)
_SESSION = re.compile(r'[0-9a-f]{40}')
_DEFAULT_NAME = 'shmstream-'


class StillInUse(ShmstreamError):
    """A deployment lives in the directory, so nothing is removed."""


@dataclass(frozen=True)
class Remains:
    """What a dead deployment has left.

    Attributes:
        path: its runtime directory.
        sessions: the number of its streams.
        memory: bytes that their files hold.
        pipes: the number of its pipes.
        newest: when its newest file was written, unix time in seconds.
        token: the token that its semaphores are named by; 0 if it is not known.
    """

    path: Path
    sessions: int
    memory: int
    pipes: int
    newest: float
    token: int


def in_shared_memory() -> list[RuntimeDirectory]:
    """Return the directories of this user in shared memory whose names are ours."""
    found: set[Path] = set()
    with contextlib.suppress(FileNotFoundError), os.scandir(SHARED_MEMORY) as entries:
        for entry in entries:
            if entry.name.startswith(_DEFAULT_NAME):
                with contextlib.suppress(FileNotFoundError):
                    about = entry.stat(follow_symlinks=False)
                    if stat.S_ISDIR(about.st_mode) and about.st_uid == os.geteuid():
                        found.add(Path(entry.path))
    return [RuntimeDirectory(path) for path in sorted(found)]


def lives(directory: RuntimeDirectory) -> bool:
    """Whether a deployment lives in this directory.

    Raises:
        DirectoryRefused: its worker table cannot be opened.
    """
    if answers(directory):
        return True
    try:
        fd = os.open(directory.table, _READ)
    except FileNotFoundError:
        return False
    except OSError as ex:
        raise DirectoryRefused(f'{directory.table}: {ex.strerror}') from ex
    try:
        return is_locked(fd, 0, MAX_SLOTS)
    finally:
        os.close(fd)


def token_of(directory: RuntimeDirectory) -> int:
    """Return the token that a deployment's semaphores are named by; 0: not known."""
    try:
        fd = os.open(directory.table, _READ)
    except OSError:
        return 0
    try:
        head = read_head(fd)
    except OSError:
        # It is a pipe, or something else that nobody has written as a table.
        return 0
    finally:
        os.close(fd)
    return head.token if head.is_table else 0


def remains(directory: RuntimeDirectory) -> Remains | None:
    """Return what a dead deployment has left; None: nothing, or it lives.

    Raises:
        DirectoryRefused: the directory is not private to this user, or its worker
            table cannot be opened.
    """
    path = directory.path
    if not os.path.lexists(path):
        return None
    directory.check()
    files = (
        *(directory.table, directory.lock, directory.settings, directory.sessions),
        *(directory.metrics, directory.metrics.with_suffix('.new')),
    )
    ours = directory.made or any(map(os.path.lexists, files))
    if not ours or lives(directory):
        return None
    newest = os.stat(path).st_mtime
    sessions = memory = 0
    for file in _session_files(directory):
        with contextlib.suppress(FileNotFoundError):
            about = os.lstat(file)
            newest = max(newest, about.st_mtime)
            memory += about.st_blocks * _BLOCK
            sessions += not file.name.startswith(_ASIDE)
    pipes = sum(1 for _ in path.glob(f'{PIPE_PREFIX}*'))
    return Remains(path, sessions, memory, pipes, newest, token_of(directory))


def _session_files(directory: RuntimeDirectory) -> Iterator[Path]:
    try:
        names = os.listdir(directory.sessions)
    except FileNotFoundError:
        return
    for name in sorted(names):
        if _SESSION.fullmatch(name) or name.startswith(_ASIDE):
            yield directory.sessions / name


def remove(found: Remains) -> tuple[str, ...]:
    """Remove what a dead deployment has left; return what could not be removed.

    Raises:
        StillInUse: somebody uses the directory now.
        DirectoryRefused: the directory is not private to this user.
    """
    directory = RuntimeDirectory(found.path)
    directory.check()
    try:
        lock = take_lock(directory)
    except AlreadyRunning:
        raise StillInUse(f'{found.path} is in use again') from None
    try:
        with _workers_kept_away(directory):
            return _remove(directory)
    finally:
        os.close(lock)


@contextlib.contextmanager
def _workers_kept_away(directory: RuntimeDirectory) -> Iterator[None]:
    try:
        locks = SlotLocks(directory.table)
    except FileNotFoundError:
        yield
        return
    except OSError as ex:
        raise DirectoryRefused(f'{directory.table}: {ex.strerror}') from ex
    with contextlib.closing(locks), locks.all_vacant() as nobody:
        if not nobody:
            raise StillInUse(f'{directory.path} has workers')
        yield


def _remove(directory: RuntimeDirectory) -> tuple[str, ...]:
    if directory.sessions.is_dir() and (path := being_written(directory)):
        raise StillInUse(f'{path} is being written')
    leftovers = Leftovers()
    for path in _session_files(directory):
        leftovers.remove_file(path)
    # Files that were half made when their makers were killed.
    for path in (directory.table, directory.settings, directory.metrics):
        leftovers.remove_file(path.with_suffix('.new'))
    leftovers.remove_files(directory, token_of(directory))
    leftovers.remove_folders(directory)
    return leftovers.left
