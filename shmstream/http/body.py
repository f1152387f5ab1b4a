"""A stream as a response body.

A response that must not end as if it were whole (its reader was overtaken, or has to go
on elsewhere) ends by ``CancelledError``: the server closes the connection without the
closing chunk, which is how a client knows that it must resume, and logs no error.

Both bodies are sent with the server's own ``send``, and under gunicorn in a cheaper way
where there is one (``direct``). Every server whose ``send`` only waits while the client
does not read is good for that.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any, Self

from shmstream.errors import FollowCut, OffsetLost
from shmstream.follower import Follower
from shmstream.http.direct import DirectWriter

log = logging.getLogger('shmstream.http')

Send = Callable[[Any], Awaitable[None]]

_DIRECT = 256 * 1024
"""Bytes that a transport is given at once: it tries to write them without delay."""

_TURN = 1 << 20
"""Bytes after which others have their turn, however fast the client reads."""

_COPIED = 64 * 1024
"""Bytes that are copied at once: they stay in the processor's cache."""


async def send_live(send: Send, follower: Follower) -> None:
    """Send what a follower gets until the stream's end, but for the end of the body.

    The hub delivers from its turn of the loop: see ``Follower.deliver``.

    Raises:
        CancelledError: the client has to go on elsewhere, or from the beginning.
    """

    def send_body(data: bytes) -> Awaitable[None]:
        return send(_body(data))

    direct = DirectWriter.of(send)
    write = None if direct is None else direct.chunk_writer()
    try:
        await follower.deliver(send_body, write)
    except OffsetLost as ex:
        log.info('reader overtaken by the ring: %s', ex)
        raise asyncio.CancelledError from ex
    except FollowCut as ex:
        log.debug('%s', ex)
        raise asyncio.CancelledError from ex


async def send_finished(
    send: Send, views: list[memoryview], leaving: Callable[[], bool]
) -> None:
    """Send what is left of a stream that has ended, but for the end of the body.

    Copied as little as the server allows: nobody will ever change these bytes, and
    while there is a view of them the mapping stays.

    Args:
        send: the server's, after the response has been started.
        views: all that is left, in order.
        leaving: whether the worker leaves: the client is cut off then, and resumes.

    Raises:
        CancelledError: as it says.
    """
    direct = DirectWriter.of(send)
    sent, turn = 0, _TURN
    for view in views:
        at = 0
        while at < len(view):
            # Who comes while we leave still gets something.
            if sent and leaving():
                raise asyncio.CancelledError
            part = view[at : at + _DIRECT]
            if direct is None or not direct.write_view(part):
                # It waits until the client has read what there is.
                part = view[at : at + _COPIED]
                await send(_body(bytes(part)))
            at += len(part)
            sent += len(part)
            if sent >= turn:
                turn = sent + _TURN
                await asyncio.sleep(0)


def _body(data: bytes) -> dict[str, Any]:
    return {'type': 'http.response.body', 'body': data, 'more_body': True}


class SentBody:
    """What Falcon iterates over: it asks once, and by then all has been sent.

    An object, not a generator: a generator that is never started never runs its
    ``finally``, and Falcon awaits ``close`` of an object whatever happens.

    Args:
        sending: sends it; called at the first step.
        close: what to do at the end, or if there is no first step.
    """

    def __init__(
        self,
        sending: Callable[[], Awaitable[None]],
        close: Callable[[], None] = lambda: None,
    ) -> None:
        self._sending = sending
        self._close = close

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        await self._sending()
        raise StopAsyncIteration

    async def close(self) -> None:
        """Let go of what it was to send."""
        self._close()
