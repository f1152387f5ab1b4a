"""A follower as a response body.

A response that must not end as if it were whole (its reader was overtaken, or has to go
on elsewhere) ends by ``CancelledError``: the server closes the connection without the
closing chunk, which is how a client knows that it must resume, and logs no error.

Falcon asks a body for one chunk after the other and sends each. This one is asked once,
and by then sends them itself, with the server's own ``send`` (``SendingApp`` keeps it),
so that the hub can deliver from its turn of the loop: see ``Follower.deliver``. Every
server whose ``send`` only waits while the client does not read is good for that; under
gunicorn there is a cheaper way (``direct``).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from typing import Any, Self

import falcon.asgi

from shmstream.errors import FollowCut, OffsetLost
from shmstream.follower import Follower
from shmstream.http.direct import DirectWriter
from shmstream.http.request import Request

log = logging.getLogger('shmstream.http')

_SEND = 'shmstream.send'

Send = Callable[[Any], Coroutine[Any, Any, None]]

_DIRECT = 256 * 1024
"""Bytes that a transport is given at once: it tries to write them without delay."""

_TURN = 1 << 20
"""Bytes after which others have their turn, however fast the client reads."""

_COPIED = 64 * 1024
"""Bytes that are copied at once: they stay in the processor's cache."""


class SendingApp(falcon.asgi.App[Request, falcon.asgi.Response]):
    """A Falcon application whose bodies can reach the server's ``send``."""

    def __call__(  # type: ignore[override]
        self, scope: Any, receive: Any, send: Any
    ) -> Any:
        """Keep ``send`` where ``StreamBody`` finds it."""
        scope[_SEND] = send
        return super().__call__(scope, receive, send)


class StreamBody:
    """What Falcon iterates over. Takes nothing before its first step.

    An object, not a generator: a generator that is never started never runs its
    ``finally``, and Falcon awaits ``close`` of an object whatever happens.
    """

    def __init__(self, follower: Follower, req: falcon.asgi.Request) -> None:
        self._follower = follower
        self._send: Send = req.scope[_SEND]

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        try:
            direct = DirectWriter.of(self._send)
            write = None if direct is None else direct.chunk_writer()
            await self._follower.deliver(self._send_body, write)
        except OffsetLost as ex:
            log.info('reader overtaken by the ring: %s', ex)
            raise asyncio.CancelledError from ex
        except FollowCut as ex:
            log.debug('%s', ex)
            raise asyncio.CancelledError from ex
        raise StopAsyncIteration

    def _send_body(self, data: bytes) -> Coroutine[Any, Any, None]:
        return self._send(_body(data))

    async def close(self) -> None:
        """Let go of the stream."""
        self._follower.close()


class FinishedBody:
    """What is left of a stream that has ended, as Falcon iterates over it.

    Copied as little as the server allows: nobody will ever change these bytes, and
    while there is a view of them the mapping stays. Closing it takes nothing.

    Args:
        views: all that is left, in order.
        req: the request.
        leaving: whether the worker leaves: the client is cut off then, and resumes.
    """

    def __init__(
        self,
        views: list[memoryview],
        req: falcon.asgi.Request,
        leaving: Callable[[], bool],
    ) -> None:
        self._views = views
        self._leaving = leaving
        self._send: Send = req.scope[_SEND]

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        direct = DirectWriter.of(self._send)
        sent, turn = 0, _TURN
        for view in self._views:
            at = 0
            while at < len(view):
                # Who comes while we leave still gets something.
                if sent and self._leaving():
                    raise asyncio.CancelledError
                part = view[at : at + _DIRECT]
                if direct is None or not direct.write_view(part):
                    # It waits until the client has read what there is.
                    part = view[at : at + _COPIED]
                    await self._send(_body(bytes(part)))
                at += len(part)
                sent += len(part)
                if sent >= turn:
                    turn = sent + _TURN
                    await asyncio.sleep(0)
        raise StopAsyncIteration


def _body(data: bytes) -> dict[str, Any]:
    return {'type': 'http.response.body', 'body': data, 'more_body': True}
