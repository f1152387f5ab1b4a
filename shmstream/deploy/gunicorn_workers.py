"""Which of gunicorn's workers this process is, and what it can do.

To tell which it is, nothing of gunicorn is imported: if there is a worker of a class,
the class's module has been imported.
"""

from __future__ import annotations

import sys
from typing import Any


def is_asgi_worker(worker: Any) -> bool:
    """Whether this is gunicorn's own ASGI worker."""
    module = sys.modules.get('gunicorn.workers.gasgi')
    return module is not None and isinstance(worker, module.ASGIWorker)


def is_uvicorn_worker(worker: Any) -> bool:
    """Whether this is uvicorn's worker for gunicorn, of whichever package."""
    return any(
        cls.__name__ == 'UvicornWorker' and cls.__module__.startswith('uvicorn')
        for cls in type(worker).__mro__
    )


def is_gevent_worker(worker: Any) -> bool:
    """Whether this is one of gunicorn's workers of greenlets."""
    module = sys.modules.get('gunicorn.workers.ggevent')
    return module is not None and isinstance(worker, module.GeventWorker)


def threads_of(worker: Any) -> int | None:
    """Return how many requests a worker handles at once, each in a thread.

    Returns:
        None if the worker's requests are greenlets or tasks, or if nothing is known of
        workers of its class.
    """
    for name, cls in (('gthread', 'ThreadWorker'), ('sync', 'SyncWorker')):
        module = sys.modules.get(f'gunicorn.workers.{name}')
        of_class: Any = getattr(module, cls, None)
        if of_class is not None and isinstance(worker, of_class):
            threads = getattr(worker.cfg, 'threads', None)
            return threads if name == 'gthread' else 1
    return None


def resets_streams(worker: Any) -> bool:
    """Whether a client of an ASGI worker sees the cut of its stream over HTTP/2.

    True if the worker speaks no HTTP/2.
    """
    if 'h2' not in getattr(getattr(worker, 'cfg', None), 'http_protocols', ()):
        return True
    try:
        from gunicorn.http2.async_connection import AsyncHTTP2Connection
    except ImportError:
        return False
    clean_up = getattr(AsyncHTTP2Connection, 'cleanup_stream', None)
    code = getattr(clean_up, '__code__', None)
    return '_reset_quietly' in getattr(code, 'co_names', ())
