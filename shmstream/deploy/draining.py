"""Has gunicorn's workers wait for their productions before they end.

::

    worker              waits                       because
    ------------------  --------------------------  ------------------------------------
    asgi                before its lifespan shuts   the sources use what the application
                        down                        closes then
    UvicornWorker       the same, by ``Drained``
    gthread, gevent,    after its last request      its main thread ends the process
    sync

A gevent worker ends its requests by force after the graceful timeout. There the timeout
begins when the productions have ended, so that the responses of POSTs are whole.
"""

from __future__ import annotations

from typing import Any

from shmstream.deploy import gunicorn_ends, gunicorn_workers
from shmstream.deploy.lifespan import Drained
from shmstream.deploy.worker_life import WorkerLife
from shmstream.producing.running import here
from shmstream.settings import drain_limit


def drain_before_end(worker: Any, life: WorkerLife) -> None:
    """Have this worker wait. Called in the worker, before it serves.

    Args:
        worker: gunicorn's worker.
        life: its life.
    """
    here.drained_by(life, drain_limit())
    drain = here.drain
    assert drain is not None
    if gunicorn_workers.is_asgi_worker(worker):
        gunicorn_ends.before_lifespan_ends(worker, drain.finish_async, drain.abort_all)
    elif gunicorn_workers.is_uvicorn_worker(worker):
        worker.wsgi = Drained(worker.wsgi, life)
    else:
        gunicorn_ends.after_last_request(worker, drain.finish, drain.abort_all)
    if gunicorn_workers.is_gevent_worker(worker):
        life.keep_graceful_timeout()
        gunicorn_ends.wait_for_answers(
            worker, lambda: life.leaving() and bool(here.all())
        )
