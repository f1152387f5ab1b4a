"""The core's replies as Falcon's responses."""

from __future__ import annotations

import falcon.asgi

from shmstream.serving.reply import Reply
from shmstream.serving.request import Header


def put(reply: Reply, resp: falcon.asgi.Response) -> None:
    """Make this the response; its body is bytes."""
    assert isinstance(reply.body, bytes)
    resp.status = reply.status
    # Falcon says itself how long it is.
    add_headers([h for h in reply.headers if h[0] != b'content-length'], resp)
    resp.data = reply.body
    resp.stream = None


def add_headers(headers: list[Header], resp: falcon.asgi.Response) -> None:
    """Set these headers."""
    resp.set_headers([(n.decode('latin-1'), v.decode('latin-1')) for n, v in headers])
