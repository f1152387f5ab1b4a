"""Turns the core's replies into Falcon's responses."""

from __future__ import annotations

import falcon.asgi

from shmstream.serving.reply import Reply
from shmstream.serving.request import Header


def put(reply: Reply, resp: falcon.asgi.Response) -> None:
    """Make this reply, whose body is bytes, the response."""
    assert isinstance(reply.body, bytes)
    resp.status = reply.status
    # Falcon adds ``content-length`` itself.
    add_headers([h for h in reply.headers if h[0] != b'content-length'], resp)
    resp.data = reply.body
    resp.stream = None


def add_headers(headers: list[Header], resp: falcon.asgi.Response) -> None:
    """Set these headers in the response."""
    resp.set_headers([(n.decode('latin-1'), v.decode('latin-1')) for n, v in headers])
