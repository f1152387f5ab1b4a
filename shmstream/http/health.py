"""``GET /healthz``: can this worker serve requests?"""

from __future__ import annotations

import asyncio
import json
import os
from typing import Any

import falcon
import falcon.asgi

from shmstream.errors import ShmstreamError
from shmstream.serving.problems import JSON
from shmstream.streams import Streams


class HealthResource:
    """Answers 200 while the worker serves and has a supervisor, else 503."""

    def __init__(self, streams: Streams) -> None:
        self._streams = streams

    async def on_get(self, _: falcon.asgi.Request, resp: falcon.asgi.Response) -> None:
        """Report the state of the worker, the supervisor and the room left."""
        health: dict[str, Any] = {'status': 'ok', 'worker': {'pid': os.getpid()}}
        try:
            status = await asyncio.to_thread(self._streams.status)
        except ShmstreamError as ex:
            health['status'] = 'no supervisor'
            health['supervisor'] = {'error': str(ex)}
        else:
            health['supervisor'] = {'pid': status['pid']}
            health['room'] = {
                'sessions': status['max_sessions'] - status['sessions'],
                'bytes': max(status['max_memory'] - status['memory'], 0),
            }
        if self._streams.leaving():
            health['status'] = 'leaving'
        resp.status = falcon.HTTP_200 if health['status'] == 'ok' else falcon.HTTP_503
        if resp.status == falcon.HTTP_503:
            resp.set_header('Retry-After', '2')
        resp.content_type = JSON
        resp.set_header('Cache-Control', 'no-store')
        resp.data = json.dumps(health).encode()

    on_head = on_get
