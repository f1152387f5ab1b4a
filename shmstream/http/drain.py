"""Ends a worker's answer tasks when the worker has been told to leave.

::

    told to leave (HUP, max_requests, TTOU, TERM, ...)
      new connections    go to the other workers
      idle connections   are closed (``deploy.idle_connections``)
      readers            are let go at once, and resume at another worker
                         (``leave`` of ``Consumer.follow``)
      WebSockets         are closed at once (``WebSockets.let_go``)
      answer tasks       go on, as do the responses of the POSTs that began them; the
                         worker tells its master that it is alive
        after the drain limit, or, if the master itself is stopping, shortly before it
        kills its workers: the tasks are aborted, and readers are told (``stream_end``)
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from shmstream.deploy import gunicorn_ends, idle_connections
from shmstream.deploy.worker_life import WorkerLife
from shmstream.http.answer_tasks import AnswerTasks

log = logging.getLogger('shmstream.http')

_LOOK_S = 0.2
_LEAVE_LOOK_S = 0.2
_LAST_BYTES_S = 2.0
_BEFORE_KILL = 0.8
"""The part of the graceful timeout after which answer tasks are aborted. The rest of
the timeout is for sending the last bytes."""


class Drain:
    """Waits for the answer tasks of a worker that leaves.

    Args:
        answer_tasks: the worker's answer tasks.
        life: says when the worker leaves, and whether its master stops as well.
        limit_s: seconds for which the answer tasks may go on.
        followers: returns how many responses still follow streams.
        let_go: is called when the worker has been told to leave.
    """

    def __init__(
        self,
        answer_tasks: AnswerTasks,
        life: WorkerLife,
        limit_s: float,
        followers: Callable[[], int],
        let_go: Callable[[], None],
    ) -> None:
        self._answer_tasks = answer_tasks
        self._followers = followers
        self._let_go = let_go
        self._life = life
        self._limit_s = limit_s
        self._task: asyncio.Task[None] | None = None
        self._closing: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to watch whether the worker leaves."""
        self._task = asyncio.get_running_loop().create_task(self._run())

    async def finish(self) -> None:
        """Wait until no answer task runs any more; for the worker's shutdown."""
        if self._task is None:
            return
        if not self._life.leaving():
            # The server stops without having told the worker before.
            self._task.cancel()
            await self._answer_tasks.abort_all()
        await asyncio.wait([self._task])
        # The streams have ended. Wait while their last bytes are sent.
        for _ in range(int(_LAST_BYTES_S / _LOOK_S)):
            if not self._followers():
                break
            await asyncio.sleep(_LOOK_S)
        if self._closing is not None:
            self._closing.cancel()

    async def _run(self) -> None:
        while not self._life.leaving():  # noqa: ASYNC110 - gunicorn has no event
            await asyncio.sleep(_LEAVE_LOOK_S)
        gunicorn_ends.close_listeners(self._life.worker)
        # gunicorn waits for its connections before it shuts the lifespan down.
        self._let_go()
        # This runs until the loop ends. A busy connection may be idle later.
        self._closing = asyncio.create_task(idle_connections.close_idle())
        loop = asyncio.get_running_loop()
        if len(self._answer_tasks):
            log.info('leaving: %d streams go on', len(self._answer_tasks))
        deadline = loop.time() + self._limit_s
        stopping = False
        while len(self._answer_tasks):
            # gunicorn's worker does not notify its master itself while it shuts down.
            self._life.notify()
            now = loop.time()
            if not stopping and self._life.stopping():
                stopping = True
                graceful_s = self._life.graceful_timeout * _BEFORE_KILL
                deadline = min(deadline, now + graceful_s)
            if now >= deadline:
                log.warning('aborted %d streams', len(self._answer_tasks))
                await self._answer_tasks.abort_all()
                return
            await self._answer_tasks.wait(min(_LOOK_S, deadline - now))
