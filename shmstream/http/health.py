"""Is the service well? Three questions, three routes; none needs a key.

::

    /_shmstream/live    200: the event loop of this worker answers. Restart a container
                        that does not answer this; nothing else makes it fail
    /_shmstream/ready   200: send requests here. 503 while the worker leaves, and while
                        there is no supervisor: then no stream can be made
    /healthz            as ready, and tells how much is used, and what is degraded

A deployment that has no room is ready: all of its workers share the memory, their
readers need them, and a POST that finds no room gets 503 by itself.

The supervisor may hang. So a worker has one look at it at a time, in a thread, which
all requests share, and no request waits for it longer than ``ANSWER_S``.
"""

from __future__ import annotations

import asyncio
import json
import os
from typing import Any

import falcon
import falcon.asgi

from shmstream.deploy.worker_life import WorkerLife
from shmstream.errors import ShmstreamError
from shmstream.serving.problems import JSON
from shmstream.streams import Streams

ANSWER_S = 3.0
"""Seconds that a supervisor may take to answer. A probe needs a longer timeout than
this, or it takes a supervisor that hangs for a worker that does."""

LIVE, READY, HEALTH = '/_shmstream/live', '/_shmstream/ready', '/healthz'

PATHS = (LIVE, READY, HEALTH)

_NO_SUPERVISOR = 'no supervisor'


class SupervisorLook:
    """Asks the supervisor for its status: once at a time, however many want to know."""

    def __init__(self, streams: Streams) -> None:
        self._streams = streams
        self._looking: asyncio.Future[dict[str, Any] | None] | None = None

    async def status(self) -> dict[str, Any] | None:
        """Return the status; None if no supervisor answers within ``ANSWER_S``."""
        if self._looking is None or self._looking.done():
            self._looking = asyncio.ensure_future(asyncio.to_thread(self._ask))
        await asyncio.wait({self._looking}, timeout=ANSWER_S)
        return self._looking.result() if self._looking.done() else None

    def _ask(self) -> dict[str, Any] | None:
        try:
            return self._streams.status()
        except ShmstreamError:
            # The thread that tries to reach the supervisor has logged why.
            return None


class HealthResource:
    """Answers the three routes.

    Args:
        streams: the deployment.
        life: the life of this process.
    """

    def __init__(self, streams: Streams, life: WorkerLife) -> None:
        self._streams = streams
        self._life = life
        self._look = SupervisorLook(streams)

    async def on_get_live(
        self, _: falcon.asgi.Request, resp: falcon.asgi.Response
    ) -> None:
        """Answer that this worker answers."""
        _send(resp, 'ok', {})

    async def on_get_ready(
        self, _: falcon.asgi.Request, resp: falcon.asgi.Response
    ) -> None:
        """Say whether this worker should get requests."""
        _send(resp, self._verdict(await self._look.status()), {})

    async def on_get(self, _: falcon.asgi.Request, resp: falcon.asgi.Response) -> None:
        """Say the same, and report what is used and what is degraded."""
        status = await self._look.status()
        more: dict[str, Any] = {'degraded': list(self._life.degraded)}
        if status is not None:
            more |= {
                'supervisor': {'pid': status['pid']},
                'workers': status['workers'],
                'sessions': {
                    'used': status['sessions'],
                    'limit': status['max_sessions'],
                },
                'memory': {'used': status['memory'], 'limit': status['max_memory']},
                'room': {
                    'sessions': max(status['max_sessions'] - status['sessions'], 0),
                    'bytes': max(status['max_memory'] - status['memory'], 0),
                },
            }
            more['degraded'] += status['degraded']
        _send(resp, self._verdict(status), more)

    def _verdict(self, status: dict[str, Any] | None) -> str:
        if self._streams.leaving():
            return 'leaving'
        return _NO_SUPERVISOR if status is None else 'ok'

    on_head = on_get
    on_head_live = on_get_live
    on_head_ready = on_get_ready


def _send(resp: falcon.asgi.Response, verdict: str, more: dict[str, Any]) -> None:
    health = {'status': verdict, 'worker': {'pid': os.getpid()}} | more
    resp.status = falcon.HTTP_200 if verdict == 'ok' else falcon.HTTP_503
    if verdict != 'ok':
        resp.set_header('Retry-After', '2')
    resp.content_type = JSON
    resp.set_header('Cache-Control', 'no-store')
    resp.data = json.dumps(health).encode()
