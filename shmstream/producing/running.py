"""The productions that run in this process."""

from __future__ import annotations

import os
import threading
import time

from shmstream.errors import NoRoom
from shmstream.producing.drain import LOOK_S, Drain, Life
from shmstream.producing.production import Production

MAX_RUNNING = 4096
"""If so many productions run in a process, ``Streams.start`` begins no further one: a
source that does not stop when it is told to holds its place here. It is the number of
sessions that a deployment has by default. The service's answers count, but only the
number of sessions bounds them."""


class Running:
    """Holds the productions until they end. Thread-safe.

    Attributes:
        drain: lets the productions run on; None: they end with the process.
    """

    def __init__(self) -> None:
        self._forget()

    def _forget(self) -> None:
        # A native lock, also under gevent, which may patch later: nothing waits while
        # it is held.
        self._lock = threading.RLock()
        self._all: dict[Production, None] = {}
        self._watching = False
        self.drain: Drain | None = None

    def __len__(self) -> int:
        return len(self._all)

    def drained_by(self, life: Life, limit_s: float) -> None:
        """Let the productions run on when this process leaves. The last call counts.

        Without a call, they end with the process.

        Args:
            life: says when the process leaves, and how long it may take.
            limit_s: seconds for which they may run on, at most.
        """
        self.drain = Drain(life, limit_s, self.all)

    def check_room(self) -> None:
        """Refuse a production more than ``MAX_RUNNING``.

        Raises:
            NoRoom: so many run in this process.
        """
        if len(self._all) >= MAX_RUNNING:
            raise NoRoom(f'{MAX_RUNNING} productions run in this process')

    def add(self, production: Production) -> None:
        """Hold a production that is about to begin.

        Raises:
            RuntimeError: the system has no more threads. The production is not held.
        """
        with self._lock:
            self._all[production] = None
            begin = self.drain is not None and not self._watching
            self._watching = self._watching or begin
        if not begin:
            return
        # A thread, and no task: it looks even if a source blocks the event loop.
        watch = threading.Thread(
            target=self._watch, name='shmstream-drain', daemon=True
        )
        try:
            watch.start()
        except BaseException:
            with self._lock:
                del self._all[production]
                self._watching = False
            raise

    def remove(self, production: Production) -> None:
        """Let go of a production that has ended."""
        with self._lock:
            self._all.pop(production, None)

    def all(self) -> list[Production]:
        """The productions that have not ended."""
        with self._lock:
            return list(self._all)

    def _watch(self) -> None:
        """Look whether the process leaves, while any production runs."""
        while True:
            with self._lock:
                drain = self.drain
                if not self._all or drain is None:
                    self._watching = False
                    return
            drain.look()
            # A fixed time, however soon a production ends: many short ones, one after
            # the other, need no thread each.
            time.sleep(LOOK_S)


here = Running()
"""The productions of this process."""

os.register_at_fork(after_in_child=here._forget)
