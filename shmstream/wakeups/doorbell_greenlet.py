"""The doorbell where gevent has made greenlets of threads.

A greenlet that waits in C code stops all others, and the doorbell's wait is one:
``posix_ipc`` knows nothing of gevent. So the doorbell waits by gevent's own means, and
on the process's pipe, by which others ring it just as an event loop (``pipe``): there
is no native thread, all the work of the process is done by greenlets of one thread, and
the locks that gevent has patched are the right ones. The semaphore, by which only the
supervisor rings then, is looked at every ``NET_S``.

Nobody imports gevent here before the application has.
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

from shmstream.errors import LocalError
from shmstream.memory.worker_table import WorkerTable
from shmstream.wakeups.doorbell_thread import Doorbell
from shmstream.wakeups.pipe import DRAIN, open_pipe, pipe_path
from shmstream.wakeups.semaphore import semaphore_name
from shmstream.wakeups.stand_in import posts_path


def patched() -> bool:
    """Whether gevent has made greenlets of this process's threads."""
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
        epoch: of this process.
        on_wake: as for ``Doorbell``.

    Raises:
        LocalError: threads are what none of our doorbells can wait in.
    """
    name = semaphore_name(table.token, epoch)
    if patched():
        pipe = os.fspath(pipe_path(table, epoch))
        return GreenletDoorbell(name, pipe, on_wake, posts_path(table, epoch))
    eventlet = sys.modules.get('eventlet.patcher')
    if eventlet is not None and eventlet.is_monkey_patched('thread'):
        raise LocalError(
            'eventlet has patched the threads of this process, in which shmstream would'
            ' block all of it: use gevent, or native threads'
        )
    return Doorbell(name, on_wake, posts_path(table, epoch))


class _Silence(Exception):
    """Nobody has rung in time."""


class GreenletDoorbell(Doorbell):
    """Waits in a greenlet, on the process's pipe; in one thread with those it wakes.

    Args:
        name: the semaphore's name.
        pipe: where the pipe is.
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
        # An object, so that a forked child's copy is closed with all it has forgotten.
        self._pipe = io.FileIO(open_pipe(pipe), 'r+')

    def _acquire(self, wait_s: float) -> bool:
        rung = self._wait_on_pipe(wait_s)
        posted = self._semaphore.value > 0 and super()._acquire(0)
        return rung or posted

    def _wait_on_pipe(self, wait_s: float) -> bool:
        fd = self._pipe.fileno()
        try:
            # Also if it is not to wait: others must have their turn.
            self._wait_read(fd, timeout=wait_s, timeout_exc=_Silence)
        except _Silence:
            return False
        with contextlib.suppress(BlockingIOError):
            os.read(fd, DRAIN)
        return True

    def ring(self) -> None:
        """As the other's; from any thread, also from one that gevent does not know."""
        with contextlib.suppress(BlockingIOError, ValueError):  # full; or closed
            os.write(self._pipe.fileno(), b'!')

    def stop(self) -> None:
        """As the other's: the greenlet is joined before anything is closed."""
        self.ring()
        super().stop()
        if not self.current:
            self._pipe.close()
