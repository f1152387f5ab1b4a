"""The doorbell where gevent has replaced threads by greenlets.

A greenlet that waits in C code stops all other greenlets, and ``posix_ipc`` waits in C
code. So this doorbell waits with gevent's own means, on the process's pipe (``pipe``),
by which others ring it as they ring an event loop. No native thread is needed: all work
of the process is done by greenlets of one thread, and the locks that gevent has patched
are the right ones. Only the supervisor still rings by the semaphore, which is looked at
every ``NET_S``.

gevent is not imported here unless the application has imported it.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from shmstream.memory.worker_table import WorkerTable
from shmstream.wakeups.doorbell_thread import Doorbell
from shmstream.wakeups.pipe import DRAIN, open_pipe, pipe_path
from shmstream.wakeups.semaphore import semaphore_name
from shmstream.wakeups.stand_in import posts_path


def patched() -> bool:
    """Whether gevent has replaced this process's threads by greenlets."""
    monkey = sys.modules.get('gevent.monkey')
    return monkey is not None and bool(monkey.is_module_patched('threading'))


def original(module: str, name: str) -> Any:
    """Return a function of the standard library as it was before gevent changed it."""
    monkey = sys.modules.get('gevent.monkey')
    if monkey is not None:
        return monkey.get_original(module, name)
    return getattr(sys.modules[module], name)


def make_doorbell(
    table: WorkerTable, epoch: int, on_wake: Callable[[bool], float]
) -> Doorbell:
    """Return the doorbell that this process can wait on.

    Args:
        table: the worker table.
        epoch: the epoch of this process.
        on_wake: as for ``Doorbell``.
    """
    name = semaphore_name(table.token, epoch)
    if patched():
        pipe = os.fspath(pipe_path(table, epoch))
        return GreenletDoorbell(name, pipe, on_wake, posts_path(table, epoch))
    return Doorbell(name, on_wake, posts_path(table, epoch))


class _Silence(Exception):
    """No ring has come in time."""


class GreenletDoorbell(Doorbell):
    """Waits in a greenlet, on the process's pipe, in the thread of all other greenlets.

    Args:
        name: the semaphore's name.
        pipe: the path of the pipe.
        on_wake: as for ``Doorbell``.
        stand_in: as for ``Doorbell``.
    """

    by_pipe = True

    def __init__(
        self,
        name: str,
        pipe: str,
        on_wake: Callable[[bool], float],
        stand_in: Path | None = None,
    ) -> None:
        super().__init__(name, on_wake, stand_in)
        self._wait_read: Any = importlib.import_module('gevent.socket').wait_read
        # A file object, so that a forked child's copy is closed when it is dropped.
        self._pipe = io.FileIO(open_pipe(pipe), 'r+')

    def _acquire(self, wait_s: float) -> bool:
        rung = self._wait_on_pipe(wait_s)
        posted = self._semaphore.value > 0 and super()._acquire(0)
        return rung or posted

    def _wait_on_pipe(self, wait_s: float) -> bool:
        fd = self._pipe.fileno()
        try:
            # Called even if ``wait_s`` is 0: other greenlets must have their turn.
            self._wait_read(fd, timeout=wait_s, timeout_exc=_Silence)
        except _Silence:
            return False
        with contextlib.suppress(BlockingIOError):
            os.read(fd, DRAIN)
        return True

    def ring(self) -> None:
        """As ``Doorbell.ring``; from any thread, even one that gevent does not know."""
        # The pipe may be full of rings, or closed.
        with contextlib.suppress(BlockingIOError, ValueError):
            os.write(self._pipe.fileno(), b'!')

    def stop(self) -> None:
        """As ``Doorbell.stop``: the greenlet is joined before anything is closed."""
        self.ring()
        super().stop()
        if not self.current:
            self._pipe.close()
