"""The hubs of a process's event loops, and which of these loops the pipe rings."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path

from shmstream.wakeups.hub_on_loop import LoopHub
from shmstream.wakeups.shared_board import Board


class LoopHubs:
    """One hub for each event loop of the process. Thread-safe.

    Args:
        board: the process's board.
        pipe: the process's pipe; None if the doorbell's greenlet waits on the pipe.
    """

    def __init__(self, board: Board, pipe: Path | None) -> None:
        self._board = board
        self._pipe = pipe
        self._hubs: dict[asyncio.AbstractEventLoop, LoopHub] = {}
        self._pipe_hub: LoopHub | None = None
        # Reentrant: a signal handler may interrupt code that holds the lock, and take
        # the lock too.
        self._lock = threading.RLock()

    def of(self, loop: asyncio.AbstractEventLoop) -> LoopHub:
        """Return the hub of this loop, which runs the caller."""
        before = self._pipe_hub
        if before is not None and before.closed:
            self._forget(before)
        with self._lock:
            hub = self._hubs.get(loop)
            if hub is None:
                hub = self._hubs.setdefault(loop, LoopHub(loop, self._board))
            if self._pipe_hub is None and self._pipe is not None:
                self._pipe_hub = hub
                hub.ring_by_pipe(self._pipe)
        return hub

    def _all(self) -> list[LoopHub]:
        with self._lock:
            return list(self._hubs.values())

    def look_soon(self, look_at_all: bool, everybody: bool) -> None:
        """Make hubs look if they have a reason to; forget hubs whose loop is closed.

        Args:
            look_at_all: look also at watches that are not marked.
            everybody: wake all followers, whatever has happened to their streams.
        """
        for hub in self._all():
            # ``behind`` is read in this thread, which costs less than waking a loop.
            if everybody or (look_at_all and hub.behind):
                hub.look_soon(look_at_all, everybody)
            if hub.closed:
                self._forget(hub)

    def tell(self) -> None:
        """As ``FollowHub.tell``, for the hubs of all loops; from any thread."""
        for hub in self._all():
            hub.tell()

    def _forget(self, hub: LoopHub) -> None:
        with self._lock:
            if self._hubs.pop(hub.loop, None) is None:
                return  # another thread was first
            if self._pipe_hub is hub:
                self._pipe_hub = None
        hub.close()

    def move(self, pipe: Path) -> None:
        """Have others ring by this pipe: the process has another slot now."""
        with self._lock:
            if self._pipe is None:
                return
            self._pipe = pipe
            pipe_hub = self._pipe_hub
        if pipe_hub is not None and pipe_hub.closed:
            self._forget(pipe_hub)
        elif pipe_hub is not None:
            pipe_hub.on_its_thread(lambda: pipe_hub.ring_by_pipe(pipe))

    def close(self) -> None:
        """Wake all followers, and leave the pipe: the process leaves."""
        for hub in self._all():
            hub.look_soon(everybody=True)
            hub.on_its_thread(hub.leave_pipe)

    def abandon(self) -> None:
        """Forget all hubs after a fork: the loops are the parent's."""
        # Without the lock: another thread of the parent may have held it.
        for hub in list(self._hubs.values()):
            hub.abandon()
