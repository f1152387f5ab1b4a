"""Removing what a deployment leaves; one log line says what cannot be removed."""

from __future__ import annotations

import logging
import os
import stat
from collections.abc import Callable
from pathlib import Path

import posix_ipc

from shmstream.memory.directory import RuntimeDirectory
from shmstream.wakeups.pipe import PIPE_PREFIX
from shmstream.wakeups.semaphore import semaphore_prefix

log = logging.getLogger('shmstream.supervisor')

_SEMAPHORES = Path('/dev/shm')


class Leftovers:
    """Removes things; an error with one of them does not stop the others."""

    def __init__(self) -> None:
        self._left: list[str] = []

    def remove(self, what: object, action: Callable[[], object]) -> None:
        """Call ``action``, which removes ``what``; note ``what`` if that fails."""
        try:
            action()
        except (FileNotFoundError, posix_ipc.ExistentialError):
            pass
        except (OSError, posix_ipc.Error) as ex:
            self._left.append(f'{what} ({getattr(ex, "strerror", None) or ex})')

    def remove_file(self, path: Path) -> None:
        """Remove a file of any kind, but not a directory."""
        self._remove_if(path, lambda mode: not stat.S_ISDIR(mode))

    def _remove_if(self, path: Path, fits: Callable[[int], bool]) -> None:
        # Both steps are one action: if the file goes at any moment, that is no error.
        def look_and_unlink() -> None:
            if fits(os.lstat(path).st_mode):
                os.unlink(path)

        self.remove(path, look_and_unlink)

    def remove_bells(self, directory: RuntimeDirectory, token: int) -> None:
        """Remove all pipes, and all semaphores of the table with this token.

        They are found by their names, not through the table, which may be damaged.

        Args:
            directory: the runtime directory.
            token: the table's token; 0 if it has none.
        """
        for path in directory.path.glob(f'{PIPE_PREFIX}*'):
            self._remove_if(path, stat.S_ISFIFO)
        names: list[str] = []
        if token:
            self.remove(_SEMAPHORES, lambda: names.extend(os.listdir(_SEMAPHORES)))
        for name in (name.removeprefix('sem.') for name in names):
            if name.startswith(semaphore_prefix(token)):
                self._remove_semaphore(f'/{name}')

    def remove_files(self, directory: RuntimeDirectory, token: int) -> None:
        """Remove the files of a deployment that has ended, but for its sessions.

        Args:
            directory: the runtime directory.
            token: the token of its worker table; 0 if there is none.
        """
        self.remove_file(directory.socket)
        for path in directory.control_sockets:
            # A master that was killed has left its control socket behind.
            self.remove_file(path)
        self.remove_bells(directory, token)
        for path in (directory.table, directory.metrics, directory.settings):
            self.remove_file(path)

    def remove_folders(self, directory: RuntimeDirectory) -> None:
        """Remove the empty folders, and the lock, which the caller holds."""
        self.remove(directory.sessions, lambda: os.rmdir(directory.sessions))
        # The lock goes last: the next supervisor must find the directory clean.
        self.remove_file(directory.lock)
        if directory.made:
            self.remove(directory.path, lambda: os.rmdir(directory.path))

    @property
    def left(self) -> tuple[str, ...]:
        """What could not be removed, and why."""
        return tuple(self._left)

    def _remove_semaphore(self, name: str) -> None:
        self.remove(f'semaphore {name}', lambda: posix_ipc.unlink_semaphore(name))

    def report(self) -> None:
        """Log in one line what could not be removed."""
        if self._left:
            log.warning('cannot be removed: %s', ', '.join(self._left))
