"""How a gunicorn worker ends, and its master: what happens before, and instead.

``gunicorn_insides`` says what of gunicorn this needs, and checks what a worker has.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from typing import Any


def close_listeners(worker: Any) -> None:
    """Have a worker accept no more connections. Does nothing if the worker is None."""
    for server in getattr(worker, 'servers', ()):
        server.close()


def before_lifespan_ends(
    worker: Any,
    finish: Callable[[Callable[[], bool]], Awaitable[None]],
    abort: Callable[[], None],
) -> None:
    """Have an ASGI worker await ``finish`` before its lifespan shuts down.

    gunicorn allows the shutdown of the lifespan 30 seconds, and a reload lets answers
    go on for longer. So ``finish`` comes before all that gunicorn does at its end.

    Args:
        worker: an ASGI worker.
        finish: is given a function that returns whether the worker has to end at once.
        abort: is called instead if the worker has to end at once from the beginning.
    """
    shut_down = getattr(worker, '_shutdown', None)
    if shut_down is None:
        return

    def at_once() -> bool:
        return bool(getattr(worker, '_quick_shutdown', False))

    async def drained() -> None:
        # ``finish`` may take long: another worker takes the connections meanwhile.
        close_listeners(worker)
        if at_once():
            abort()
        else:
            await finish(at_once)
        await shut_down()

    worker._shutdown = drained


def after_last_request(
    worker: Any, finish: Callable[[], None], abort: Callable[[], None]
) -> None:
    """Have a WSGI worker call ``finish`` before its main thread ends the process.

    Args:
        worker: a WSGI worker.
        finish: waits.
        abort: is called instead if an exception ends the worker (SIGINT, SIGQUIT).
    """
    run = getattr(worker, 'run', None)
    if run is None:
        return

    def drained() -> None:
        try:
            run()
        except BaseException:
            abort()
            raise
        finish()

    worker.run = drained


def wait_for_answers(worker: Any, answering: Callable[[], bool]) -> None:
    """Have a gevent worker's graceful timeout begin when its answers have ended.

    After the graceful timeout the worker kills the greenlets of its requests, and with
    them the responses of POSTs whose answers go on. It asks for the timeout anew every
    second, so the timeout can grow.

    Args:
        worker: a gevent worker.
        answering: returns whether the worker leaves, and its answers go on.
    """
    settings = getattr(worker.cfg, 'settings', {})
    if 'graceful_timeout' in settings:
        # In this process only: the master has its own.
        settings['graceful_timeout'] = _Growing(settings['graceful_timeout'], answering)


class _Growing:
    """The setting ``graceful_timeout``, plus the seconds that answers have gone on.

    Args:
        setting: gunicorn's.
        answering: as for ``wait_for_answers``.
    """

    def __init__(self, setting: Any, answering: Callable[[], bool]) -> None:
        self._setting = setting
        self._answering = answering
        self._since: float | None = None
        self._more_s = 0.0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._setting, name)

    def get(self) -> float:
        """Return the seconds, from when the worker was told to leave."""
        if self._answering():
            now = time.monotonic()
            if self._since is None:
                self._since = now
            self._more_s = now - self._since
        return float(self._setting.get() + self._more_s)


def before_stop(arbiter: Any, announce: Callable[[], None]) -> None:
    """Have ``announce`` called before the arbiter tells its workers to stop.

    Workers get the same signal at a reload, and gunicorn has no hook for its own stop.
    """
    stop = getattr(arbiter, 'stop', None)
    if stop is None:
        arbiter.log.warning(
            'shmstream: announced stops are off:'
            ' this gunicorn is not as version 27 is known'
        )
        return

    def announced(*args: Any, **options: Any) -> None:
        announce()
        stop(*args, **options)

    arbiter.stop = announced
