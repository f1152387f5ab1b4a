"""A stream as an async iterator, for frameworks that give an application no ``send``.

``writer`` sends a reply with the server's ``send``. Some frameworks (Falcon) keep that
to themselves, and take an iterator instead, whose parts they send. The iterator has
``receive`` only, and does with it what ``exchange`` and ``writer`` do with both::

    what                         how
    the client leaves            gunicorn cancels the task; under another server the
                                 watcher receives http.disconnect, and the iterator ends
    the client takes nothing     ``Readers`` looks at the transport behind ``receive``,
                                 or else at how long the framework sends a part
    ``receive`` fails            the response is cut: the client may still be there
    the response has to be cut   ``other_servers.cut``; no step ends the iteration, so
                                 the framework sends no closing chunk

A part costs a step of the iterator and a message of the framework more than ``writer``.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from typing import Any, Self

from shmstream.asgi.other_servers import cut
from shmstream.asgi.stalled import Reader, Readers
from shmstream.asgi.writer import COPIED, TURN
from shmstream.consumer import Consumer
from shmstream.deploy import gunicorn_insides
from shmstream.errors import FollowCut, OffsetLost
from shmstream.internals import counts_of
from shmstream.metrics.catalogue import BYTES
from shmstream.serving.reply import Cut, Ended, Following, Live

log = logging.getLogger('shmstream.asgi')


class IteratedBody:
    """The body of a reply, part by part. Takes nothing before its first step.

    Args:
        body: the body.
        source: the stream.
        receive: what the framework has got as ``receive``; None if it is not known.
        readers: watches the responses under way.
        watched: whether ``receive`` tells when the client leaves, and only then.
    """

    def __init__(
        self,
        body: Live | Ended | Cut,
        source: Consumer | None,
        receive: Any,
        readers: Readers,
        watched: bool = True,
    ) -> None:
        self._body: Live | Ended | Cut | None = body
        self._first = body.first if isinstance(body, Live) else b''
        self._source = source
        self._receive = receive
        self._readers = readers
        self._watched = watched and not gunicorn_insides.is_its_own(receive)
        self._parts: AsyncIterator[bytes] | None = None
        self._follower: Following | None = None
        self._reader: Reader | None = None
        self._watcher: asyncio.Task[None] | None = None
        self._left = False

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        """Return the next bytes.

        Raises:
            StopAsyncIteration: the stream has ended, or the client has left.
            CancelledError: the server has to cut the response.
            ResponseCut: the server has to cut the response.
        """
        if self._reader is None:
            self._begin()
        else:
            self._reader.has_sent()
        try:
            part = await self._part()
        except StopAsyncIteration:
            if self._follower is None or not self._follower.untold_failure:
                raise
            log.info('reader cut: %s', self._follower.untold_failure)
        except OffsetLost as ex:
            log.info('reader overtaken by the ring: %s', ex)
        except FollowCut as ex:
            log.debug('%s', ex)
        else:
            assert self._reader is not None
            self._reader.is_sending()
            return part
        if not self._left:
            await cut(self._receive, self._receive)
        # The connection is closed by now: nothing more reaches the client.
        raise StopAsyncIteration

    async def _part(self) -> bytes:
        if self._first:
            first, self._first = self._first, b''
            return first
        parts, watcher = self._parts, self._watcher
        assert parts is not None
        if watcher is None:
            return await anext(parts)
        # In a task of its own: granian runs an application in none that could be told.
        step = asyncio.ensure_future(anext(parts))
        try:
            await asyncio.wait({step, watcher}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            if not step.done():
                step.cancel()
                await asyncio.wait([step])
        if step.cancelled():
            raise FollowCut(0, 'the client has left, or receive has failed')
        return step.result()

    @property
    def _stopped(self) -> bool:
        """Whether the client has left, or nobody can tell any more."""
        return self._watcher is not None and self._watcher.done()

    def _begin(self) -> None:
        self._reader = self._readers.enter(self._receive)
        self._reader.source = self._source
        if isinstance(self._body, Live):
            self._follower = self._body.follow()
            self._parts = self._follower
        elif isinstance(self._body, Cut):
            self._parts = self._cut(self._body)
        else:
            assert self._body is not None
            self._parts = self._ended(self._body)
        if self._watched:
            self._watcher = asyncio.ensure_future(self._wait_until_left())

    async def _wait_until_left(self) -> None:
        try:
            while (await self._receive())['type'] != 'http.disconnect':
                # A part of a body that nobody reads.
                pass
        except Exception as ex:
            # The client may be there: it must not take what it has got for the whole.
            log.info('a response is cut: receive has failed: %r', ex)
        else:
            self._left = True

    async def _cut(self, body: Cut) -> AsyncIterator[bytes]:
        yield body.data
        raise FollowCut(0, 'the client has to come back')

    async def _ended(self, body: Ended) -> AsyncIterator[bytes]:
        counts = counts_of(body.consumer)
        sent, turn = 0, TURN
        for view in body.views:
            for at in range(0, len(view), COPIED):
                if self._stopped or (sent and body.leave()):
                    raise FollowCut(body.offset + sent, 'this worker is leaving')
                part = bytes(view[at : at + COPIED])
                sent += len(part)
                yield part
                counts.add(BYTES.of('out'), len(part))
                if sent >= turn:
                    turn = sent + TURN
                    await asyncio.sleep(0)

    async def close(self) -> None:
        """Let go of the stream; frameworks await it whatever happens. Idempotent."""
        if self._follower is not None:
            self._follower.close()
        if self._watcher is not None and not self._watcher.done():
            self._watcher.cancel()
        if self._reader is not None:
            self._reader.has_sent()
            self._readers.leave(self._reader)
        # The server's objects for a request may live long, and must not hold the stream
        # mapped.
        self._parts = self._follower = self._source = self._body = None
        self._first = b''
