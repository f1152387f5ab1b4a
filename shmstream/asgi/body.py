"""Reads the body of a request, for the few routes that have one."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from shmstream.serving.problems import Problem


async def read_body(
    receive: Callable[[], Awaitable[Any]], most: int, wait_s: float
) -> bytes:
    """Return the whole body; if it has more than ``most`` bytes, some more than that.

    Args:
        receive: of the request.
        most: bytes that are wanted.
        wait_s: seconds in which the body has to come.

    Raises:
        Problem: 400, the client left within its body; 408, it comes too slowly.
    """
    body = bytearray()
    try:
        async with asyncio.timeout(wait_s):
            while len(body) <= most:
                message = await receive()
                if message['type'] != 'http.request':
                    raise Problem(400, 'The body ended early')
                body += message.get('body', b'')
                if not message.get('more_body', False):
                    break
    except TimeoutError:
        raise Problem(408, 'The body comes too slowly') from None
    return bytes(body)
