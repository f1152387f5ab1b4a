"""Turns the core's replies into Falcon's responses."""

from __future__ import annotations

from collections.abc import Awaitable

import falcon.asgi

from shmstream.asgi.answering import settled
from shmstream.asgi.writer import send_stream
from shmstream.http import falcon_request
from shmstream.http.streamed_response import StreamedResponse
from shmstream.serving.reply import Later, Reply
from shmstream.serving.request import Header


def put(reply: Reply, resp: falcon.asgi.Response) -> None:
    """Make this reply, whose body is bytes, the response."""
    assert isinstance(reply.body, bytes)
    resp.status = reply.status
    # Falcon adds ``content-length`` itself.
    add_headers([h for h in reply.headers if h[0] != b'content-length'], resp)
    resp.data = reply.body
    resp.stream = None


async def send(
    reply: Reply | Later, req: falcon.asgi.Request, resp: falcon.asgi.Response
) -> None:
    """Make this reply, whose body may be a stream, the response."""
    if not isinstance(reply, Reply):
        reply = await settled(reply)
    body = reply.body
    if isinstance(body, bytes):
        put(reply, resp)
        return
    resp.status = reply.status
    add_headers(reply.headers, resp)
    reader = falcon_request.reader_of(req)
    reader.source = reply.source

    def sending() -> Awaitable[None]:
        return send_stream(body, reader)

    resp.stream = StreamedResponse(sending, _nothing)


def _nothing() -> None:
    """Let go of nothing: a follower is let go of where it was made."""


def add_headers(headers: list[Header], resp: falcon.asgi.Response) -> None:
    """Set these headers in the response."""
    resp.set_headers([(n.decode('latin-1'), v.decode('latin-1')) for n, v in headers])
