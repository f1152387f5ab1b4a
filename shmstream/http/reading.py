"""Reading a stream and stopping it: GET, HEAD and DELETE of ``/v1/stream``."""

from __future__ import annotations

import asyncio
import functools
import os
from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import quote

import falcon
import falcon.asgi

from shmstream.consumer import Consumer
from shmstream.errors import OffsetLost, StreamNotFound
from shmstream.follower import Follower
from shmstream.http import request
from shmstream.http.body import SentBody, send_finished, send_live
from shmstream.http.errors import Problem
from shmstream.ids import validate_id
from shmstream.ring.state import State
from shmstream.stream_end import EVENT_STREAM
from shmstream.streams import Streams

PENDING_S = 5.0
"""How long a GET waits for the upstream's answer."""

RETRY_S = 2
"""What it says then: llama.cpp's web UI tries again after as long."""

WHOLE = 64 * 1024
"""A finished answer up to this size is sent in one piece."""


class StreamResource:
    """``/v1/stream/{conv_id}`` and ``/v1/stream?conv_id=``.

    Args:
        streams: the deployment.
    """

    def __init__(self, streams: Streams) -> None:
        self._streams = streams

    async def on_get(
        self, req: falcon.asgi.Request, resp: falcon.asgi.Response, **_: Any
    ) -> None:
        """The bytes from ``from`` on, then live until the end."""
        consumer, offset = await self._find(req, resp)
        if not consumer.finished:
            if self._streams.leaving() and consumer.total_bytes <= offset:
                raise Problem(503, 'This worker is leaving, ask again', RETRY_S)
            resp.stream = live_body(req, consumer.follow(offset, self._streams.leaving))
            return
        size = max(consumer.total_bytes - offset, 0)
        if size <= WHOLE:
            resp.data = consumer.read(offset)
        else:
            resp.content_length = size
            resp.stream = SentBody(
                functools.partial(
                    send_finished,
                    request.send_of(req),
                    consumer.views(offset),
                    self._streams.leaving,
                )
            )

    async def on_head(
        self, req: falcon.asgi.Request, resp: falcon.asgi.Response, **_: Any
    ) -> None:
        """As GET, without the bytes, and with the counts."""
        consumer, offset = await self._find(req, resp)
        resp.set_header('Stream-Total-Bytes', str(consumer.total_bytes))
        resp.set_header('Stream-Dropped-Prefix', str(consumer.dropped_prefix))
        if consumer.finished:
            resp.content_length = max(consumer.total_bytes - offset, 0)
        else:
            # Without a body Falcon would say that there are 0 bytes.
            resp.stream = live_body(req, consumer.follow(offset))

    async def on_delete(
        self, req: falcon.asgi.Request, resp: falcon.asgi.Response, **_: Any
    ) -> None:
        """Cancel the producer, wherever it runs, and evict the stream."""
        conv_id = request.conversation_id(req)
        validate_id(conv_id)
        await asyncio.to_thread(
            self._streams.evict,
            conv_id,
            generation=request.generation(req),
            owner=req.context.owner,
        )
        resp.status = falcon.HTTP_204

    async def _find(
        self, req: falcon.asgi.Request, resp: falcon.asgi.Response
    ) -> tuple[Consumer, int]:
        conv_id = request.conversation_id(req)
        offset = request.offset(req)
        consumer = self._streams.open(
            conv_id, generation=request.generation(req), owner=req.context.owner
        )
        if req.context.generation not in (None, consumer.generation):
            # A token for a session that has been replaced.
            raise StreamNotFound
        if not await consumer.started(PENDING_S):
            raise Problem(503, 'The answer has not begun yet, retry later', RETRY_S)
        if consumer.evicted or consumer.never_began:
            raise StreamNotFound
        if offset < consumer.dropped_prefix:
            raise OffsetLost(offset, consumer.dropped_prefix, consumer.total_bytes)
        resp.set_headers(described(consumer, offset))
        request.reads(req, consumer)
        return consumer, offset


def live_body(
    req: falcon.asgi.Request,
    follower: Follower,
    heard: Callable[[], None] = lambda: None,
) -> SentBody:
    """Return the body of a stream that goes on.

    Args:
        req: what is answered.
        follower: what is sent.
        heard: called in the turn in which it begins to read, or will not any more.
    """

    def sending() -> Awaitable[None]:
        heard()
        return send_live(request.send_of(req), follower)

    def close() -> None:
        heard()
        follower.close()

    return SentBody(sending, close)


def described(consumer: Consumer, offset: int) -> dict[str, str]:
    """Return the headers that say what the body is."""
    state = consumer.state
    if state is State.CANCELLED and not consumer.finished:
        state = State.LIVE
    return {
        'content-type': consumer.content_type or EVENT_STREAM,
        'cache-control': 'no-store, no-transform',
        'x-accel-buffering': 'no',
        'x-content-type-options': 'nosniff',
        'stream-offset': str(offset),
        'stream-state': state.label,
        'stream-generation': consumer.generation,
        'stream-worker': str(os.getpid()),
    }


def location(conv_id: str) -> str:
    """The address of a stream, relative to the service."""
    if conv_id in ('.', '..'):
        # As a path they would be taken for a folder.
        return f'/v1/stream?conv_id={conv_id}'
    return '/v1/stream/' + quote(conv_id, safe='')
