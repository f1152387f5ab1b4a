"""The service with a route that blocks the event loop, as a bad application may."""

from __future__ import annotations

import time
from typing import Any

import falcon.asgi

from shmstream.http.app import create_app


class Block:
    async def on_get(self, _: falcon.asgi.Request, resp: falcon.asgi.Response) -> None:
        time.sleep(60)  # noqa: ASYNC251 - this is what it is for


def app() -> Any:
    blocking = create_app()
    blocking.add_route('/block', Block())
    return blocking
