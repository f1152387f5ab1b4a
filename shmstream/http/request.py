"""What Falcon's own request does not know of a request."""

from __future__ import annotations

from typing import Any

import falcon.asgi

from shmstream.asgi.stalled import Reader
from shmstream.consumer import Consumer
from shmstream.serving.problems import Problem

STREAM_PATH = '/v1/stream'

READER = 'shmstream.reader'
"""Where a scope keeps the ``Reader``, whose ``send`` is the server's."""


class FalconRequest(falcon.asgi.Request):
    """A request that knows whether its client left before its body had come.

    Falcon's body stream just ends then: half a chunked body would pass for a whole one.
    """

    def __init__(self, scope: Any, receive: Any, *args: Any, **options: Any) -> None:
        self.gone = False

        async def noted() -> Any:
            event = await receive()
            if event['type'] == 'http.disconnect':
                self.gone = True
            return event

        super().__init__(scope, noted, *args, **options)


def reader_of(req: falcon.asgi.Request) -> Reader:
    """Return the response under way; its ``send`` is the server's."""
    reader: Reader = req.scope[READER]
    return reader


def reads(req: falcon.asgi.Request, source: Consumer) -> None:
    """Note the stream that the response reads from: see ``stalled``."""
    req.scope[READER].source = source


def check_target(req: falcon.asgi.Request) -> None:
    """Refuse a request target that is not a path.

    What does not begin with a slash could be put together with the upstream's address
    into another host's.

    Raises:
        Problem: 400.
    """
    if not raw_path(req).startswith(b'/'):
        raise Problem(400, 'The request target must begin with /')


def raw_path(req: falcon.asgi.Request) -> bytes:
    """Return the path as the client sent it, percent-encoded."""
    path: bytes = req.scope.get('raw_path') or req.path.encode('utf-8')
    return path.partition(b'?')[0]
