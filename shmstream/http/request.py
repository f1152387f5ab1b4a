"""What Falcon's own request does not know of a request."""

from __future__ import annotations

from typing import Any

import falcon.asgi

from shmstream.consumer import Consumer
from shmstream.serving.problems import Problem

STREAM_PATH = '/v1/stream'
CONVERSATION_HEADER = 'X-Conversation-Id'

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


def send_of(req: falcon.asgi.Request) -> Any:
    """Return the server's ``send``."""
    return req.scope[READER].send


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


def conversation_header(req: falcon.asgi.Request) -> str | None:
    """Return the id from ``X-Conversation-Id``; None without it or when it is empty.

    Raises:
        Problem: 400, it is not UTF-8.
    """
    value = req.get_header(CONVERSATION_HEADER)
    # Not strip(): in latin-1, where we are here, A0 and 85 are white space, too.
    value = value.strip(' \t') if value is not None else ''
    if not value:
        return None
    try:
        # ASGI servers hand header bytes on as latin-1.
        return value.encode('latin-1').decode('utf-8')
    except UnicodeError:
        raise Problem(400, f'{CONVERSATION_HEADER} is not valid UTF-8') from None
