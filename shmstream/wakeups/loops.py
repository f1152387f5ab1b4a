"""The event loops that follow something, and which of them the pipe rings."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path

from shmstream.wakeups.board import Board
from shmstream.wakeups.loop import LoopHub


class LoopHubs:
    """One hub for each event loop of the process. Thread-safe.

    Args:
        board: the process's bell board.
        pipe: its pipe; None if the process's doorbell waits on that itself.
    """

    def __init__(self, board: Board, pipe: Path | None) -> None:
        self._board = board
        self._pipe = pipe
        self._hubs: dict[asyncio.AbstractEventLoop, LoopHub] = {}
        self._listener: LoopHub | None = None
        # Reentrant: a signal handler may use what it has interrupted.
        self._lock = threading.RLock()

    def of(self, loop: asyncio.AbstractEventLoop) -> LoopHub:
        """Return the hub of the running loop."""
        before = self._listener
        if before is not None and before.closed:
            self._forget(before)
        with self._lock:
            hub = self._hubs.get(loop)
            if hub is None:
                hub = self._hubs.setdefault(loop, LoopHub(loop, self._board))
            if self._listener is None and self._pipe is not None:
                self._listener = hub
                hub.listen(self._pipe)
        return hub

    def _all(self) -> list[LoopHub]:
        with self._lock:
            return list(self._hubs.values())

    def poke(self, look_at_all: bool, everybody: bool) -> None:
        """Poke those for whom there is something; forget those whose loop is closed."""
        for hub in self._all():
            # Looked at from here: waking a loop costs more than that.
            if everybody or (look_at_all and hub.behind):
                hub.poke(look_at_all, everybody)
            if hub.closed:
                self._forget(hub)

    def _forget(self, hub: LoopHub) -> None:
        with self._lock:
            if self._hubs.pop(hub.loop, None) is None:
                return  # another thread was first
            if self._listener is hub:
                self._listener = None
        hub.close()

    def move(self, pipe: Path) -> None:
        """The process has another pipe now."""
        with self._lock:
            if self._pipe is None:
                return
            self._pipe = pipe
            listener = self._listener
        if listener is not None and listener.closed:
            self._forget(listener)
        elif listener is not None:
            listener.on_its_thread(lambda: listener.listen(pipe))

    def close(self) -> None:
        """Nobody drives them any more: have their followers look around."""
        for hub in self._all():
            hub.poke(everybody=True)
            hub.on_its_thread(hub.stop_listening)

    def abandon(self) -> None:
        """Let go after a fork: the loops are the parent's."""
        # Without the lock: another thread of the parent may have held it.
        for hub in list(self._hubs.values()):
            hub.abandon()
