"""What the serving process knows of its own life under gunicorn.

gunicorn tells a worker to stop by clearing ``worker.alive``. The hooks keep the worker
here; the service asks here. Without gunicorn there is no worker: the process is its own
master, and never leaves, unless it listens to signals (``hear_signals``).
"""

from __future__ import annotations

import asyncio
import mmap
import os
import signal
import threading
from collections.abc import Awaitable, Callable
from types import FrameType
from typing import Any, Protocol

_GRACEFUL_S = 10.0
"""What is taken for the patience of who stops us without gunicorn: it is Docker's."""


class Worker(Protocol):
    """The part of a gunicorn worker that matters."""

    alive: bool
    ppid: int
    cfg: Any

    def notify(self) -> None:
        """Heart-beat."""


class Lifecycle:
    """This process's worker, if gunicorn runs it."""

    def __init__(self) -> None:
        self.worker: Worker | None = None
        self._stop_flag: mmap.mmap | None = None
        self._told = False
        self._listening: asyncio.Task[None] | None = None

    def leaving(self) -> bool:
        """Whether this process has been told to stop serving."""
        return self._told or (self.worker is not None and not self.worker.alive)

    def hear_signals(self) -> None:
        """Learn from signals that a server other than gunicorn is to stop.

        ASGI has no word for it before all responses have ended, and those that follow a
        stream do not. So this listens to what the server itself listens to, before it
        does; call it once that has set its handlers: in the lifespan's start.
        """
        if self.worker is not None:
            return
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGTERM, signal.SIGINT):
                self._hear(number)

    def _hear(self, number: signal.Signals) -> None:
        then = signal.getsignal(number)
        if not callable(then):
            # It would end the process, or is not to: nobody waits for us.
            return

        def heard(signum: int, frame: FrameType | None) -> None:
            self._told = True
            then(signum, frame)

        signal.signal(number, heard)
        # As asyncio has it.
        signal.siginterrupt(number, False)

    def hear_word(self, wait: Callable[[], Awaitable[object]]) -> None:
        """Learn of it once this can be awaited; the first that is given is listened to.

        hypercorn's workers get no signal, but have a word for it. Without it none of
        them would end while a stream is followed: from Python 3.12 on closing a server
        takes until its connections have ended.
        """
        if self._listening is None:

            async def listen() -> None:
                await wait()
                self._told = True

            self._listening = asyncio.ensure_future(listen())

    def masters(self) -> list[int] | None:
        """The master, while it lives: an orphan must not start a supervisor.

        Returns:
            None if there is no master but the process itself.
        """
        if self.worker is None:
            return None
        parent = os.getppid()
        return [parent] if parent == self.worker.ppid else []

    def share_stop_flag(self) -> None:
        """Make the flag that ``stopping`` reads; in the master, before it forks."""
        self._stop_flag = mmap.mmap(-1, 1)

    def announce_stop(self) -> None:
        """Raise the flag; in the master, before it tells its workers to leave."""
        if self._stop_flag is not None:
            self._stop_flag[0] = 1

    def stopping(self) -> bool:
        """Whether the master is stopping as well, and will kill who takes too long."""
        return self._told or (self._stop_flag is not None and self._stop_flag[0] == 1)

    @property
    def graceful_timeout(self) -> float:
        """Seconds that a stopping master gives its workers."""
        if self.worker is None:
            return _GRACEFUL_S
        return float(self.worker.cfg.graceful_timeout)

    def notify(self) -> None:
        """Heart-beat: gunicorn's worker does not while it shuts down."""
        if self.worker is not None:
            self.worker.notify()


current = Lifecycle()
"""Set by the gunicorn hooks, in each worker after its fork."""
