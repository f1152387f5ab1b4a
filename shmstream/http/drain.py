"""How a worker that has been told to leave comes to its end.

::

    told to leave (HUP, max_requests, TTOU, TERM, ...)
      connections        new ones are left to the other workers, idle ones closed
      readers            are let go at once, to resume elsewhere (``Consumer.follow``)
      generations        run on, and with them the responses of the POSTs that began
                         them, while the worker heart-beats
        after the drain limit, or shortly before the master kills its workers if it is
        stopping itself: aborted, in-band
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from shmstream.deploy import gunicorn_insides, idle_connections
from shmstream.http.generation import Generations
from shmstream.lifecycle import Lifecycle

log = logging.getLogger('shmstream.http')

_LOOK_S = 0.2
_LEAVE_LOOK_S = 0.2
_LAST_BYTES_S = 2.0
_BEFORE_KILL = 0.8
"""Of the graceful timeout: what is left is for the last bytes to get out."""


class Drain:
    """Waits for a worker's generations once it leaves.

    Args:
        generations: the worker's.
        life: says when it leaves, and whether its master does too.
        limit_s: seconds that they may run on.
        followers: how many responses still read from streams.
    """

    def __init__(
        self,
        generations: Generations,
        life: Lifecycle,
        limit_s: float,
        followers: Callable[[], int],
    ) -> None:
        self._generations = generations
        self._followers = followers
        self._life = life
        self._limit_s = limit_s
        self._task: asyncio.Task[None] | None = None
        self._closing: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to look whether the worker leaves."""
        self._task = asyncio.get_running_loop().create_task(self._run())

    async def finish(self) -> None:
        """The worker's shutdown: return once nothing runs any more."""
        if self._task is None:
            return
        if not self._life.leaving():
            # A server that just stops, without a word to its worker.
            self._task.cancel()
            await self._generations.abort_all()
        await asyncio.wait([self._task])
        # The streams have ended, and their last bytes are on the way out.
        for _ in range(int(_LAST_BYTES_S / _LOOK_S)):
            if not self._followers():
                break
            await asyncio.sleep(_LOOK_S)
        if self._closing is not None:
            self._closing.cancel()

    async def _run(self) -> None:
        while not self._life.leaving():  # noqa: ASYNC110 - gunicorn has no event
            await asyncio.sleep(_LEAVE_LOOK_S)
        gunicorn_insides.close_listeners(self._life.worker)
        # Until the loop ends: who is busy now may be idle later.
        self._closing = asyncio.create_task(idle_connections.close_idle())
        loop = asyncio.get_running_loop()
        if len(self._generations):
            log.info('leaving: %d streams run on', len(self._generations))
        deadline = loop.time() + self._limit_s
        stopping = False
        while len(self._generations):
            # gunicorn's worker does not heart-beat while it shuts down.
            self._life.notify()
            now = loop.time()
            if not stopping and self._life.stopping():
                stopping = True
                graceful_s = self._life.graceful_timeout * _BEFORE_KILL
                deadline = min(deadline, now + graceful_s)
            if now >= deadline:
                log.warning('aborted %d streams', len(self._generations))
                await self._generations.abort_all()
                return
            await self._generations.wait(min(_LOOK_S, deadline - now))
