"""What a request of Falcon has for the routes of answers."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

import falcon
import falcon.asgi

from shmstream.serving.problems import Problem


async def body_of(req: falcon.asgi.Request, most: int) -> bytes:
    """Return the body; if it has more than ``most`` bytes, the first ``most + 1``.

    Raises:
        Problem: 400, the client left within its body.
    """
    stream: Any = req.stream
    receive, gone = stream._receive, False

    async def noted() -> Any:
        nonlocal gone
        event = await receive()
        gone = gone or event['type'] == 'http.disconnect'
        return event

    # For Falcon's stream a client that leaves is the end of the body.
    stream._receive = noted
    found: bytes = await stream.read(most + 1)
    if gone or len(found) < min(req.content_length or 0, most + 1):
        raise Problem(400, 'The body ended early')
    return found


def mount_of(req: falcon.Request, prefix: str | None) -> str | None:
    """Return the path that streams have for the client of a request."""
    mount = prefix
    if mount is None:
        _, slash, last = (req.uri_template or '').rpartition('/')
        if not slash or not last.startswith('{'):
            return None
        mount = req.path.rpartition('/')[0]
    root = req.root_path
    if isinstance(req, falcon.asgi.Request) and f'{mount}/'.startswith(f'{root}/'):
        # Some ASGI servers leave the path of the application's own mount in ``path``.
        root = ''
    return quote(root + mount)
