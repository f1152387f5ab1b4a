"""The answer tasks of a worker, and how they end when the worker leaves."""

from __future__ import annotations

import asyncio

from shmstream.http.answer_task import AnswerTask


class AnswerTasks:
    """The answer tasks of this worker."""

    def __init__(self) -> None:
        self._running: set[AnswerTask] = set()

    def __len__(self) -> int:
        return len(self._running)

    def add(self, task: AnswerTask) -> AnswerTask:
        """Keep an answer task until it ends, and return it."""
        self._running.add(task)
        task.task.add_done_callback(lambda _: self._running.discard(task))
        return task

    async def wait(self, wait_s: float) -> None:
        """Wait until all answer tasks have ended, at most ``wait_s`` seconds."""
        if self._running:
            await asyncio.wait([task.task for task in self._running], timeout=wait_s)

    async def abort_all(self) -> None:
        """Abort all answer tasks that still run."""
        for task in list(self._running):
            await task.abort('the producing worker has shut down')
