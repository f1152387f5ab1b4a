"""Taking away what a deployment leaves; what cannot go is told in one line."""

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
    """Removes things, whatever goes wrong with one of them."""

    def __init__(self) -> None:
        self._left: list[str] = []

    def remove(self, what: object, action: Callable[[], object]) -> None:
        """Do what removes it; note if it cannot be done."""
        try:
            action()
        except (FileNotFoundError, posix_ipc.ExistentialError):
            pass
        except (OSError, posix_ipc.Error) as ex:
            self._left.append(f'{what} ({getattr(ex, "strerror", None) or ex})')

    def remove_file(self, path: Path) -> None:
        """Remove a file, whatever it is, unless it is a directory."""
        self._remove_if(path, lambda mode: not stat.S_ISDIR(mode))

    def _remove_if(self, path: Path, fits: Callable[[int], bool]) -> None:
        # One action: what is looked at may go, or have gone, by anybody's hand.
        def look_and_unlink() -> None:
            if fits(os.lstat(path).st_mode):
                os.unlink(path)

        self.remove(path, look_and_unlink)

    def remove_bells(self, directory: RuntimeDirectory, token: int) -> None:
        """Remove every semaphore and pipe of the table with this token, if it has one.

        By what is there: a damaged table does not say what there should be.
        """
        for path in directory.path.glob(f'{PIPE_PREFIX}*'):
            self._remove_if(path, stat.S_ISFIFO)
        names: list[str] = []
        if token:
            self.remove(_SEMAPHORES, lambda: names.extend(os.listdir(_SEMAPHORES)))
        for name in (name.removeprefix('sem.') for name in names):
            if name.startswith(semaphore_prefix(token)):
                self._remove_semaphore(f'/{name}')

    def _remove_semaphore(self, name: str) -> None:
        self.remove(f'semaphore {name}', lambda: posix_ipc.unlink_semaphore(name))

    def report(self) -> None:
        """Say in one line what is left."""
        if self._left:
            log.warning('cannot be removed: %s', ', '.join(self._left))
