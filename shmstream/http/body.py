"""A follower as a response body.

A response that must not end as if it were whole (its reader was overtaken, or has to go
on elsewhere) ends by ``CancelledError``: the server closes the connection without the
closing chunk, which is how a client knows that it must resume, and logs no error.

Falcon asks a body for one chunk after the other and sends each. This one is asked once,
and by then sends them itself, with the server's own ``send`` (``SendingApp`` keeps it),
so that the hub can deliver from its turn of the loop: see ``Follower.deliver``. Every
server whose ``send`` only waits while the client does not read is good for that. A
server may offer a cheaper way at the live edge (``deploy.direct_writes``).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from typing import Any, Self

import falcon.asgi

from shmstream.errors import FollowCut, OffsetLost
from shmstream.follower import Follower
from shmstream.http.request import Request
from shmstream.wakeups.push import Write

log = logging.getLogger('shmstream.http')

WRITE = 'shmstream.write'
"""In a scope: a ``Write`` for bodies of unknown length, see ``wakeups.push``."""

_SEND = 'shmstream.send'


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
        self._send: Callable[[Any], Coroutine[Any, Any, None]] = req.scope[_SEND]
        self._write: Write | None = req.scope.get(WRITE)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        try:
            await self._follower.deliver(self._send_body, self._write)
        except OffsetLost as ex:
            log.info('reader overtaken by the ring: %s', ex)
            raise asyncio.CancelledError from ex
        except FollowCut as ex:
            log.debug('%s', ex)
            raise asyncio.CancelledError from ex
        raise StopAsyncIteration

    def _send_body(self, data: bytes) -> Coroutine[Any, Any, None]:
        return self._send(
            {'type': 'http.response.body', 'body': data, 'more_body': True}
        )

    async def close(self) -> None:
        """Let go of the stream."""
        self._follower.close()
