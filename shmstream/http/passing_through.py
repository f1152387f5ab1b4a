"""Passes bodies through: of requests to the upstream, of answers to the client."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from typing import Self

import falcon.asgi

from shmstream.asgi.body_pace import Pace
from shmstream.serving.problems import Problem
from shmstream.upstream.source import Answer, ClientLeft, Headers, UpstreamBroken

log = logging.getLogger('shmstream.http')

_SMALL = 64 * 1024
"""Bytes, at most, of a body that is read whole before it is passed through: such a body
can be sent again if a connection turns out to be dead."""


async def body_of(
    req: falcon.asgi.Request, timeout_s: float
) -> bytes | AsyncIterator[bytes] | None:
    """Return the body of a request: all of it if it is small; None if there is none.

    Args:
        req: the request.
        timeout_s: seconds that a small body has at first; see ``Pace``.

    Raises:
        Problem: 400, a small body ended early; 408, it comes too slowly.
    """
    chunked = req.get_header('Transfer-Encoding') is not None
    if not req.content_length and not chunked:
        return None
    if chunked or req.content_length is None or req.content_length > _SMALL:
        return _pieces(req)
    try:
        pieces: list[bytes] = []
        async with Pace(timeout_s) as pace:
            async for piece in _pieces(req):
                pace.came(len(piece))
                pieces.append(piece)
        return b''.join(pieces)
    except ClientLeft:
        raise Problem(400, 'The body ended early') from None
    except TimeoutError:
        raise Problem(408, 'The body comes too slowly') from None


async def _pieces(req: falcon.asgi.Request) -> AsyncIterator[bytes]:
    async for chunk in req.stream:
        yield chunk
    if getattr(req, 'gone', False):
        # The upstream must not believe that the part that it has is the whole body.
        raise ClientLeft('the client left within its request')


def hand_on(
    req: falcon.asgi.Request, resp: falcon.asgi.Response, answer: Answer
) -> None:
    """Send the client an answer of the upstream that becomes no stream."""
    resp.status = answer.status
    copy_headers(resp, answer.headers)
    if req.method == 'HEAD' or answer.status in (204, 304):
        # Falcon neither reads nor closes the body of such an answer.
        answer.close()
        resp.stream = Nothing()
    else:
        resp.stream = UpstreamBody(answer)


def copy_headers(resp: falcon.asgi.Response, headers: Headers) -> None:
    """Put headers of the upstream's answer into a response."""
    for name, value in headers:
        # The service and not the upstream decides which other origins may use the
        # service: llama.cpp would allow every page that the user has open.
        if not name.lower().startswith('access-control-'):
            resp.append_header(name, value)


class UpstreamBody:
    """An upstream's answer as the body of a response, passed on as it arrives."""

    def __init__(self, answer: Answer) -> None:
        self._answer = answer
        self._chunks = answer.chunks()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        try:
            return await self._chunks.__anext__()
        except UpstreamBroken as ex:
            log.warning('an answer was cut: %s', ex)
            # Cut the response, as ``asgi.writer`` does: the answer is not whole.
            raise asyncio.CancelledError from ex

    async def close(self) -> None:
        """Hang up on the upstream if the answer was not read to its end."""
        self._answer.close()


class Nothing:
    """An empty body to which Falcon adds no ``content-length``."""

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        raise StopAsyncIteration
