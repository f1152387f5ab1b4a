"""From an upstream's answer into a ring: whole events, until the answer is over.

::

    the answer                            the stream
    ------------------------------------  ----------------------------------------------
    an event, in however many chunks      one event, once it is whole
    says that it is over, and ends, by    complete; nothing of ours follows
      whatever the connection does
    says so, and the connection stays     the same, after a second
    comes to the end of its body          complete, with all that was held back
    breaks off, or falls silent           aborted: the whole events, and what tells it
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

from shmstream.dialects.incoming import Incoming
from shmstream.dialects.splitter import pieces
from shmstream.dialects.table import default_dialect
from shmstream.producer import Producer
from shmstream.streams import Streams
from shmstream.upstream.source import Answer, UpstreamBroken, header
from shmstream.wakeups.hub_on_loop import LoopHub

log = logging.getLogger('shmstream.http')

AFTER_END_S = 1.0
"""How long a source that has said that it is over may keep its connection open."""

_SLICE = 64 * 1024
_SHARE = 4
"""What is written at once, at most, and which part of the ring: it must not overtake
this worker's own readers before their turn. An event is written at once if it is within
that part of the ring."""


async def pump(
    streams: Streams,
    producer: Producer,
    answer: Answer,
    have_delivered: Callable[[LoopHub], Awaitable[None]],
) -> None:
    """Write an answer into its stream, and end the stream.

    Args:
        streams: the deployment.
        producer: the stream's; it is live.
        answer: where its bytes come from.
        have_delivered: lets this loop's readers have what has been written.
    """
    pumping = _Pump(producer, answer, have_delivered)
    pumping.hub = await streams.process.followers.loop_hub()
    incoming = pumping.incoming
    try:
        ended = await pumping.run()
    except UpstreamBroken as ex:
        rest = incoming.rest(clean=False)
        if incoming.over:
            producer.write(rest)
            log.debug('stream %s was over: %s', producer.generation, ex)
            producer.finish()
            return
        log.warning('stream %s: %s', producer.generation, ex)
        producer.abort(str(ex))
    else:
        producer.write(incoming.rest(clean=ended))
        producer.finish()


class _Pump:
    """One answer on its way."""

    hub: LoopHub

    def __init__(
        self,
        producer: Producer,
        answer: Answer,
        have_delivered: Callable[[LoopHub], Awaitable[None]],
    ) -> None:
        self._producer = producer
        self._answer = answer
        self._have_delivered = have_delivered
        self._most_of_event = producer.segment.reader.capacity // _SHARE
        self._most = min(_SLICE, self._most_of_event)
        self._fresh = 0
        self.incoming = Incoming(header(answer.headers, 'content-type'), answer.headers)

    async def run(self) -> bool:
        """Write until the body ends, or for as long as it may be kept open.

        Returns:
            Whether the body has ended.

        Raises:
            UpstreamBroken: the body broke off.
        """
        incoming, producer = self.incoming, self._producer
        dialect = default_dialect(producer.segment.content_type)
        try:
            async with asyncio.timeout(None) as limit:
                async for chunk in self._answer.chunks():
                    events = incoming.feed(chunk)
                    if dialect is not incoming.dialect:
                        dialect = incoming.dialect
                        producer.speaks(dialect.number)
                    if events and not await self._write(events):
                        return False
                    if incoming.over is (limit.when() is None):
                        self._limit(limit)
        except TimeoutError:
            # By nobody but ``limit``: a source's own are ``UpstreamBroken``.
            log.debug('stream %s is over and kept open', producer.generation)
            return False
        return True

    def _limit(self, limit: asyncio.Timeout) -> None:
        loop = asyncio.get_running_loop()
        limit.reschedule(loop.time() + AFTER_END_S if self.incoming.over else None)

    async def _write(self, events: bytes) -> bool:
        """Write whole events; False if the stream is over."""
        most = self._most
        if len(events) <= most:
            return await self._write_piece(events)
        for piece in pieces(events, most, self.incoming.framing):
            step = len(piece) if len(piece) <= self._most_of_event else most
            for at in range(0, len(piece), step):
                if not await self._write_piece(piece[at : at + step]):
                    return False
        return True

    async def _write_piece(self, piece: bytes) -> bool:
        if self._fresh + len(piece) > self._most:
            # Also between chunks: those that are there already come without a turn of
            # the loop.
            await self._have_delivered(self.hub)
            self._fresh = 0
        await self._producer.drain()
        if not self._producer.write(piece):
            return False
        self._fresh += len(piece)
        return True
