"""What the serving process knows of its own life under gunicorn.

gunicorn tells a worker to stop by clearing ``worker.alive``. The hooks keep the worker
here; the service asks here. Without gunicorn there is no worker: it never leaves, and
is its own master.
"""

from __future__ import annotations

import os
from typing import Protocol


class Worker(Protocol):
    """The part of a gunicorn worker that matters."""

    alive: bool
    ppid: int

    def notify(self) -> None:
        """Heart-beat."""


class Lifecycle:
    """This process's worker, if gunicorn runs it."""

    def __init__(self) -> None:
        self.worker: Worker | None = None

    def leaving(self) -> bool:
        """Whether this process has been told to stop serving."""
        return self.worker is not None and not self.worker.alive

    def masters(self) -> list[int]:
        """The master, while it lives: an orphan must not start a supervisor."""
        if self.worker is None:
            return [os.getpid()]
        parent = os.getppid()
        return [parent] if parent == self.worker.ppid else []

    def notify(self) -> None:
        """Heart-beat: gunicorn's worker does not while it shuts down."""
        if self.worker is not None:
            self.worker.notify()


current = Lifecycle()
"""Set by the gunicorn hooks, in each worker after its fork."""
