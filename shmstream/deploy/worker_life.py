"""Whether this process has been told to stop, and by whom.

gunicorn tells a worker to stop by clearing ``worker.alive``. The hooks store the worker
in ``WorkerLife.worker``, and the service asks the ``WorkerLife``. Without gunicorn
there is no worker: then the process is its own master, and learns that it is to stop
only from signals (``hear_signals``) or from its server (``hear_word``).
"""

from __future__ import annotations

import asyncio
import mmap
import os
import signal
import sys
import threading
from collections.abc import Awaitable, Callable
from types import FrameType
from typing import Any, Protocol

from shmstream.deploy.gunicorn_workers import is_uvicorn_worker

_GRACEFUL_S = 10.0
"""How long the process may take to stop without gunicorn: Docker kills it after that.
"""


class Worker(Protocol):
    """The part of a gunicorn worker that is used here."""

    alive: bool
    ppid: int
    cfg: Any

    def notify(self) -> None:
        """Tell the master that the worker is alive."""


class WorkerLife:
    """The life of this process. It is a ``shmstream.process.host.Host``.

    Attributes:
        worker: the gunicorn worker that this process is; None without gunicorn.
        degraded: what works, but slower or with less than it could, a line for each.
    """

    def __init__(self) -> None:
        self.worker: Worker | None = None
        self.degraded: list[str] = []
        self._stop_flag: mmap.mmap | None = None
        self._told = False
        self._recycled = False
        self._hears_uvicorn = False
        self._graceful_s: float | None = None
        self._listening: asyncio.Task[None] | None = None

    def leaving(self) -> bool:
        """Whether this process has been told to stop serving."""
        if self._told or self._recycled:
            return True
        return self.worker is not None and not self.worker.alive

    def hear_signals(self) -> None:
        """Learn from signals that a server other than gunicorn is to stop.

        uvicorn also ends without a signal, as after ``max_requests``, and waits for its
        responses then as well. So its ``shutdown`` tells this life, too.

        An ASGI server tells its application of its end only after all responses have
        ended, and a response that follows a stream does not end by itself. So this
        method puts a handler of its own before the server's handlers of SIGTERM, SIGINT
        and SIGQUIT. Call it after the server has set its handlers: at the lifespan's
        startup.
        """
        if self.worker is not None and not is_uvicorn_worker(self.worker):
            return
        self._hear_uvicorn()
        if threading.current_thread() is threading.main_thread():
            # uvicorn's worker for gunicorn takes SIGQUIT as well.
            for number in (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT):
                self._hear(number)

    def _hear(self, number: signal.Signals) -> None:
        then = signal.getsignal(number)
        if not callable(then):
            # The signal ends the process at once, or is ignored: in neither case does a
            # server wait for responses.
            return

        def heard(signum: int, frame: FrameType | None) -> None:
            self._told = True
            then(signum, frame)

        signal.signal(number, heard)
        # asyncio sets this to False for its signals, and ``signal.signal`` has set it
        # to True again.
        signal.siginterrupt(number, False)

    def _hear_uvicorn(self) -> None:
        server: Any = getattr(sys.modules.get('uvicorn.server'), 'Server', None)
        if self._hears_uvicorn or not hasattr(server, 'shutdown'):
            return
        self._hears_uvicorn = True
        shut_down = server.shutdown

        async def shutdown(server: Any, *args: Any, **options: Any) -> None:
            before = self._told
            if server.should_exit:
                self._told = True
            else:
                # After its requests: nobody will kill it.
                self._recycled = True
            try:
                await shut_down(server, *args, **options)
            finally:
                # The process may live on, as that of tests, and serve again.
                self._told, self._recycled = before, False

        server.shutdown = shutdown

    def hear_word(self, wait: Callable[[], Awaitable[object]]) -> None:
        """Learn from a server's own event that it is to stop.

        hypercorn's workers get no signal, but have such an event. Without it no worker
        would end while a stream is followed: from Python 3.12 on, closing a server
        waits until its connections have ended.

        Args:
            wait: returns an awaitable that ends when the server stops. While one event
                loop awaits it, further calls of ``hear_word`` have no effect.
        """
        if self._listening is None or self._listening.get_loop().is_closed():

            async def listen() -> None:
                await wait()
                self._told = True

            self._listening = asyncio.ensure_future(listen())

    def masters(self) -> list[int] | None:
        """Return the pid of the master, as long as the master lives.

        A worker whose master has died gets an empty list: it must not start a
        supervisor.

        Returns:
            None if the process is its own master.
        """
        if self.worker is None:
            return None
        parent = os.getppid()
        return [parent] if parent == self.worker.ppid else []

    def share_stop_flag(self) -> None:
        """Make the flag that ``stopping`` reads. Called in the master, before forks."""
        self._stop_flag = mmap.mmap(-1, 1)

    def announce_stop(self) -> None:
        """Set the flag. Called in the master, before it tells its workers to leave."""
        if self._stop_flag is not None:
            self._stop_flag[0] = 1

    def stopping(self) -> bool:
        """Whether the master stops as well, and will kill a worker that is too slow."""
        if self.worker is None:
            return self._told
        return self._stop_flag is not None and self._stop_flag[0] == 1

    @property
    def graceful_timeout(self) -> float:
        """Seconds that a stopping master gives its workers."""
        if self._graceful_s is not None:
            return self._graceful_s
        if self.worker is None:
            return _GRACEFUL_S
        return float(self.worker.cfg.graceful_timeout)

    def keep_graceful_timeout(self) -> None:
        """Keep the seconds as they are, whatever becomes of the worker's setting."""
        self._graceful_s = self.graceful_timeout

    def notify(self) -> None:
        """Tell gunicorn's master that this worker is alive.

        gunicorn's worker does not do so itself while it shuts down, nor while its only
        thread is in a request.
        """
        if self.worker is not None:
            self.worker.notify()


current = WorkerLife()
"""The life of this process. In a worker the gunicorn hooks set its ``worker``.

Only the hooks and ``http.app`` use this name; all other code gets what it needs as
arguments.
"""
