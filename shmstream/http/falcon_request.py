"""What Falcon's own request does not provide."""

from __future__ import annotations

from typing import Any

import falcon.asgi

from shmstream.asgi.stalled import Reader
from shmstream.consumer import Consumer
from shmstream.serving.problems import Problem
from shmstream.serving.request import Request

STREAM_PATH = '/v1/stream'
EVENTS_PATH = '/v1/events'

READER = 'shmstream.reader'
"""The key of the ``Reader`` in an ASGI scope. Responses go out by ``Reader.send``."""


class FalconRequest(falcon.asgi.Request):
    """A request that knows whether its client left before the whole body had arrived.

    If the client leaves, Falcon's body stream just ends, so that half of a chunked body
    would look like a whole body.

    Attributes:
        gone: whether the client has left.
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
    """Return the response under way, as it is watched; see ``asgi.stalled``."""
    reader: Reader = req.scope[READER]
    return reader


def reads(req: falcon.asgi.Request, source: Consumer) -> None:
    """Note the stream that the response sends, for ``asgi.stalled``."""
    req.scope[READER].source = source


def asked_of_core(req: falcon.asgi.Request) -> Request:
    """Return the request in the form that the serving core takes, with its owner."""
    scope: Any = req.scope
    return Request(
        req.method,
        raw_path(req),
        scope.get('query_string', b''),
        scope['headers'],
        req.context.owner,
    )


def check_target(req: falcon.asgi.Request) -> None:
    """Refuse a request target that is not a path.

    A target without a slash at its beginning, appended to the upstream's address, could
    make the address of another host.

    Raises:
        Problem: 400.
    """
    if not raw_path(req).startswith(b'/'):
        raise Problem(400, 'The request target must begin with /')


def raw_path(req: falcon.asgi.Request) -> bytes:
    """Return the path as the client sent it, percent-encoded."""
    path: bytes = req.scope.get('raw_path') or req.path.encode('utf-8')
    return path.partition(b'?')[0]
