"""A reply as a response of Falcon."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import falcon

from shmstream.serving.reply import Reply


def put(
    reply: Reply,
    body: bytes,
    req: falcon.Request,
    resp: falcon.Response,
    empty: Any,
) -> None:
    """Make a reply without a stream the response.

    Args:
        reply: the reply.
        body: its body.
        req: the request.
        resp: its response.
        empty: an iterator of no part, of the kind that the server iterates over.
    """
    put_head(reply, resp)
    if req.method == 'HEAD' and resp.get_header('content-length') is None:
        # Falcon would say that a stream without a known length has the length 0.
        resp.stream = empty
    else:
        resp.data = body


def put_head(reply: Reply, resp: falcon.Response) -> None:
    """Set the status and the headers of a reply."""
    resp.status = reply.status
    for name, value in reply.headers:
        resp.set_header(name.decode(), value.decode('latin-1'))


async def nothing() -> AsyncIterator[bytes]:
    """An iterator of no part."""
    return
    yield b''
