"""The routes by which the demonstration page restarts the workers, or kills one.

::

    GET  /_shmstream/demo              what the page is in front of
    POST /_shmstream/demo/restart      as kill -HUP MASTER         202
    POST /_shmstream/demo/kill?pid=N   as kill -9 N                202

They are there to show that no stream suffers from it. They are refused

* with an upstream: then this is no demonstration, but somebody's service (404);
* under another server than gunicorn, which has no master that could be told (404);
* to a client that is not on this machine, or for which a proxy says it speaks (403);
* to a page of another origin, to a page whose name somebody else has let stand for a
  loopback address, and to who does not say what a browser says (403).

A proxy on this machine that says nothing cannot be told from a browser, if its client
forges what a browser says; SECURITY.md warns of it.
"""

from __future__ import annotations

import asyncio
from typing import Any

import falcon.asgi

from shmstream.deploy.other_workers import OtherWorkers
from shmstream.host_names import is_loopback
from shmstream.serving.page_origin import is_of
from shmstream.serving.problems import JSON, Problem
from shmstream.upstream.demo import OPENING

_PROXIES = ('x-forwarded-for', 'x-real-ip', 'forwarded', 'via')
"""Headers of which a proxy usually sends one."""

_MAX_PID = 1 << 22
"""The kernel has no larger pids."""


class DemoResource:
    """Answers the three routes.

    Args:
        workers: the workers.
        demo: whether the demo model answers, and no upstream.
    """

    def __init__(self, workers: OtherWorkers, *, demo: bool) -> None:
        self._workers = workers
        self._demo = demo

    async def on_get(
        self, req: falcon.asgi.Request, resp: falcon.asgi.Response
    ) -> None:
        """Tell the page what it can show.

        ``opening`` is how answers of the demo model begin, before it counts from 1, and
        null with an upstream. ``workers`` are the pids that could be killed: none if
        this client may not.
        """
        may = self._demo and _refusal(req) is None
        pids = await asyncio.to_thread(self._workers.pids) if may else []
        resp.content_type = JSON
        resp.set_header('Cache-Control', 'no-store')
        resp.media = {'opening': OPENING if self._demo else None, 'workers': pids}

    async def on_post_restart(
        self, req: falcon.asgi.Request, resp: falcon.asgi.Response
    ) -> None:
        """Have the workers replaced.

        Raises:
            Problem: 403 or 404, see above.
        """
        self._check(req)
        if not await asyncio.to_thread(self._workers.restart):
            raise _nothing_to_restart()
        resp.status = falcon.HTTP_202

    async def on_post_kill(
        self, req: falcon.asgi.Request, resp: falcon.asgi.Response
    ) -> None:
        """Kill a worker. If it is this one, it answers first.

        Raises:
            Problem: 403 or 404, see above; 404 also if no worker has this pid.
            falcon.HTTPBadRequest: ``pid`` is missing, or no number.
        """
        self._check(req)
        pid = req.get_param_as_int(
            'pid', required=True, min_value=1, max_value=_MAX_PID
        )
        if pid not in await asyncio.to_thread(self._workers.pids):
            raise Problem(404, f'{pid} is no worker of this gunicorn')

        async def kill() -> None:
            await asyncio.to_thread(self._workers.kill, pid)

        resp.status = falcon.HTTP_202
        resp.schedule(kill)

    def _check(self, req: falcon.asgi.Request) -> None:
        if not self._demo:
            raise _nothing_to_restart()
        refusal = _refusal(req)
        if refusal is not None:
            raise refusal


def _nothing_to_restart() -> Problem:
    return Problem(404, 'Only the demo model under gunicorn can be restarted by a page')


def _refusal(req: falcon.asgi.Request) -> Problem | None:
    """Return why this client may do nothing to the workers; None if it may."""
    client: Any = req.scope.get('client')
    host = req.get_header('Host') or ''
    name = host.rpartition(':')[0] if not host.endswith(']') else host
    near = bool(client) and is_loopback(str(client[0]))
    if not near or not is_loopback(name or host) or any(map(req.get_header, _PROXIES)):
        text = 'Only a browser on this machine may do this'
        return Problem(403, text, cause='origin')
    site, origin = req.get_header('Sec-Fetch-Site'), req.get_header('Origin')
    # A browser says both. Behind a proxy that tells nothing of itself, the page's
    # origin is not what this service takes for its host.
    told = origin is not None and is_of(origin.encode(), host.encode())
    if site != 'same-origin' or not (told or req.method == 'GET'):
        text = 'Only the page of this service may do this'
        return Problem(403, text, cause='origin')
    return None
