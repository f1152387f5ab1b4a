"""A follower as a response body.

A response that must not end as if it were whole (its reader was overtaken, or has to go
on elsewhere) ends by ``CancelledError``: the server closes the connection without the
closing chunk, which is how a client knows that it must resume, and logs no error.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Self

from shmstream.consumer import Follower
from shmstream.errors import FollowCut, OffsetLost
from shmstream.http.errors import Problem

log = logging.getLogger('shmstream.http')


RETRY_S = 1
"""For who is let go before the first byte: another worker, or a moment later."""


async def begin(follower: Follower) -> StreamBody:
    """Return the body, its first step taken.

    gunicorn sends the headers with the first byte. Until then a reader that cannot go
    on here is told so, by a status; later it can only be cut off.

    Raises:
        OffsetLost: the ring has been faster.
        Problem: 503, the worker is leaving, or the stream's producer is silent.
    """
    try:
        return StreamBody(follower, await anext(follower, b''))
    except FollowCut as ex:
        raise Problem(503, f'{ex}, ask again', RETRY_S) from ex


class StreamBody:
    """What Falcon iterates over. Takes nothing before its first step.

    An object, not a generator: a generator that is never started never runs its
    ``finally``, and Falcon awaits ``close`` of an object whatever happens.
    """

    def __init__(self, follower: Follower, first: bytes = b'') -> None:
        self._follower = follower
        self._first = first

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        if self._first:
            first, self._first = self._first, b''
            return first
        try:
            return await self._follower.__anext__()
        except OffsetLost as ex:
            log.info('reader overtaken by the ring: %s', ex)
            raise asyncio.CancelledError from ex
        except FollowCut as ex:
            log.debug('%s', ex)
            raise asyncio.CancelledError from ex

    async def close(self) -> None:
        """Let go of the stream."""
        self._follower.close()
