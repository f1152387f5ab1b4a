"""An ASGI application whose process is drained before it ends, whatever server runs it.

ASGI servers tell an application of their end only after all responses have ended. So
the wrapper hears the server's signals itself (``WorkerLife``), and when the lifespan
shuts down, it waits for the productions before the application closes what their
sources use::

    lifespan.startup     hear the server's signals; then the application starts
    SIGTERM              readers are let go, productions go on (``producing.drain``)
    lifespan.shutdown    wait for the productions; then the application shuts down

``Drained`` wraps an application, and ``drained`` is a lifespan for a framework's router
that runs several (starlette's and FastAPI's do).
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

from shmstream.deploy.worker_life import WorkerLife, current
from shmstream.process.host import run_by
from shmstream.producing.drain import Drain
from shmstream.producing.running import here
from shmstream.settings import drain_limit

AsgiApp = Callable[[Any, Any, Any], Awaitable[None]]


class Drained:
    """An ASGI application, with a drain of what ``Streams.start`` has begun.

    Under gunicorn with shmstream's hooks nothing more is needed than the hooks; there
    the wrapper does no harm. It has to be the outermost application, or at least be
    given the scope ``lifespan``.

    Args:
        app: the application. It need not know the lifespan protocol.
        life: the life of this process.

    Raises:
        SettingsError: ``$SHMSTREAM_DRAIN`` has a value that cannot be used.

    Example::

        app = shmstream.asgi.Drained(FastAPI())
    """

    def __init__(self, app: AsgiApp, life: WorkerLife = current) -> None:
        self._app = app
        self._life = life
        self._limit_s = drain_limit()
        self._before: Drain | None = None

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Pass the request on; raises what the application raises."""
        if scope['type'] == 'lifespan':
            await self._lifespan(scope, receive, send)
        else:
            self.listen(send)
            await self._app(scope, receive, send)

    def listen(self, send: Any) -> None:
        """Hear the end of a server that shows it in its ``send``."""
        listen_to_hypercorn(send, self._life.hear_word)

    async def _lifespan(self, scope: Any, receive: Any, send: Any) -> None:
        heard: list[str] = []

        async def received() -> Any:
            event = await receive()
            heard.append(event['type'])
            if event['type'] == 'lifespan.startup':
                self._begin()
            elif event['type'] == 'lifespan.shutdown':
                await self._finish()
            return event

        async def sent(event: Any) -> None:
            if event['type'] == 'lifespan.startup.failed':
                # The server sends nothing more.
                heard.append('lifespan.shutdown')
            await send(event)

        try:
            await self._app(scope, received, sent)
        except Exception:
            # An application that does not know the protocol raises at once.
            if heard:
                raise
        while 'lifespan.shutdown' not in heard:
            # The application has not answered, or not to the end.
            event = await received()
            await send({'type': f'{event["type"]}.complete'})

    def _begin(self) -> None:
        self._before = _begin(self._life, self._limit_s)

    async def _finish(self) -> None:
        await _finish(self._before)


@contextlib.asynccontextmanager
async def drained(
    limit_s: float | None = None, life: WorkerLife = current
) -> AsyncIterator[None]:
    """Drain this process at the end of a lifespan.

    Args:
        limit_s: seconds for which productions may run on; None: ``$SHMSTREAM_DRAIN``.
            Without gunicorn they are 8 at the most: whoever stops such a process is
            taken to kill it after 10.
        life: the life of this process.

    Raises:
        SettingsError: ``$SHMSTREAM_DRAIN`` has a value that cannot be used.
    """
    before = _begin(life, drain_limit() if limit_s is None else limit_s)
    try:
        yield
    finally:
        await _finish(before)


def _begin(life: WorkerLife, limit_s: float) -> Drain | None:
    run_by(life)
    life.hear_signals()
    before = here.drain
    if life.worker is None:
        # Anew: some test clients start and end an application several times.
        here.drained_by(life, limit_s)
    return before


async def _finish(before: Drain | None) -> None:
    if here.drain is not None:
        await here.drain.finish_async()
    # A process may live on, as that of tests: this drain would abort what begins later.
    here.drain = before


def listen_to_hypercorn(
    send: Any, listen: Callable[[Callable[[], Awaitable[object]]], None]
) -> None:
    """If this ``send`` is hypercorn's, call ``listen`` with the wait for its end."""
    context = getattr(getattr(send, '__self__', None), 'context', None)
    terminated = getattr(context, 'terminated', None)
    if terminated is not None:
        listen(terminated.wait)
