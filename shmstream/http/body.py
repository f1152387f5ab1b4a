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

log = logging.getLogger('shmstream.http')


class StreamBody:
    """What Falcon iterates over. Takes nothing before its first step.

    An object, not a generator: a generator that is never started never runs its
    ``finally``, and Falcon awaits ``close`` of an object whatever happens.
    """

    def __init__(self, follower: Follower) -> None:
        self._follower = follower

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
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
