"""What a worker of the service does when it has been told to leave.

::

    told to leave (HUP, max_requests, TTOU, TERM, ...)
      new connections    go to the other workers
      idle connections   are closed (``deploy.idle_connections``)
      readers            are let go at once, and resume at another worker
                         (``leave`` of ``Consumer.follow``)
      WebSockets         are closed at once (``WebSockets.let_go``)
      answer tasks       go on, as do the responses of the POSTs that began them: they
                         are productions (``producing.drain``)
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from shmstream.deploy import gunicorn_ends, idle_connections
from shmstream.deploy.worker_life import WorkerLife
from shmstream.producing import drain as producing
from shmstream.producing.running import here

_LOOK_S = 0.2
_LAST_BYTES_S = 2.0


class Drain:
    """Lets go of clients when the worker leaves, and waits for the productions.

    Args:
        life: says when the worker leaves, and whether its master stops as well.
        limit_s: seconds for which productions may go on. Under gunicorn with our hooks
            these have set the limit.
        followers: returns how many responses still follow streams.
        let_go: is called when the worker has been told to leave.
    """

    def __init__(
        self,
        life: WorkerLife,
        limit_s: float,
        followers: Callable[[], int],
        let_go: Callable[[], None],
    ) -> None:
        self._followers = followers
        self._let_go = let_go
        self._life = life
        self._limit_s = limit_s
        self._drain: producing.Drain | None = None
        self._before: producing.Drain | None = None
        self._task: asyncio.Task[None] | None = None
        self._closing: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to watch whether the worker leaves."""
        self._before = here.drain
        if self._life.worker is None or here.drain is None:
            here.drained_by(self._life, self._limit_s)
        self._drain = here.drain
        self._task = asyncio.get_running_loop().create_task(self._watch())

    async def finish(self) -> None:
        """Wait until no production runs any more; for the worker's shutdown."""
        drain = self._drain
        if self._task is None or drain is None:
            return
        if not self._life.leaving():
            # The server stops without having told the worker before.
            self._task.cancel()
            drain.abort_all()
        await asyncio.wait([self._task])
        await drain.finish_async()
        # The streams have ended. Wait while their last bytes are sent.
        for _ in range(int(_LAST_BYTES_S / _LOOK_S)):
            if not self._followers():
                break
            await asyncio.sleep(_LOOK_S)
        if self._closing is not None:
            self._closing.cancel()
        # A process may live on, as that of tests: this drain would abort what begins
        # later.
        here.drain = self._before

    async def _watch(self) -> None:
        while not self._life.leaving():  # noqa: ASYNC110 - gunicorn has no event
            await asyncio.sleep(_LOOK_S)
        gunicorn_ends.close_listeners(self._life.worker)
        # gunicorn waits for its connections before it shuts the lifespan down.
        self._let_go()
        # This runs until the loop ends. A busy connection may be idle later.
        self._closing = asyncio.create_task(idle_connections.close_idle())
