"""Reads the body of a request, for the few routes that have one."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from shmstream.asgi.body_pace import Pace
from shmstream.serving.problems import Problem


async def read_body(
    receive: Callable[[], Awaitable[Any]], most: int, wait_s: float
) -> bytes:
    """Return the whole body; if it has more than ``most`` bytes, some more than that.

    Args:
        receive: of the request.
        most: bytes that are wanted.
        wait_s: seconds that the body has at first; see ``Pace``.

    Raises:
        Problem: 400, the client left within its body; 408, it comes too slowly.
    """
    body = bytearray()
    try:
        async with Pace(wait_s) as pace:
            while len(body) <= most:
                message = await receive()
                if message['type'] != 'http.request':
                    raise Problem(400, 'The body ended early')
                piece = message.get('body', b'')
                pace.came(len(piece))
                body += piece
                if not message.get('more_body', False):
                    break
    except TimeoutError:
        raise Problem(408, 'The body comes too slowly') from None
    return bytes(body)
