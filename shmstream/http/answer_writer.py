"""Writes an upstream's answer into a ring: whole events, at the pace of its readers.

::

    the answer                            the stream
    ------------------------------------  ----------------------------------------------
    sends an event in several chunks      gets the event when it is whole
    says that it is over, and then ends   is complete, and the service adds nothing
      or breaks off
    says that it is over, and stays open  is complete after a second
    comes to the end of its body          is complete, with all that was held back
    ends with its connection, and has     is complete if that can be the end of its
      no length and no chunks               dialect; otherwise it broke off
    breaks off, or falls silent           is aborted: it has all whole events, and then
                                            an event that tells the failure

If an upstream sends much at once, the ring could overtake the readers on the same event
loop before they have a turn. So the writer lets the readers read after each part of the
ring.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from shmstream.dialects.incoming import Incoming
from shmstream.dialects.table import default_dialect
from shmstream.producer import Producer
from shmstream.producing.pace import Pace
from shmstream.producing.portions import Portions
from shmstream.streams import Streams
from shmstream.upstream.source import Answer, UpstreamBroken, header

log = logging.getLogger('shmstream.http')

AFTER_END_S = 1.0
"""Seconds for which an answer that has said that it is over may stay open."""


class AnswerWriter:
    """Writes one answer.

    Args:
        streams: the deployment. Its readers in this process are given turns.
        pace: waits for the client of the POST.
    """

    def __init__(self, streams: Streams, pace: Pace) -> None:
        self._streams = streams
        self._pace = pace

    async def write(self, producer: Producer, answer: Answer) -> None:
        """Write the answer into the producer's ring, and end the stream with it.

        Returns early when the stream is cancelled. An answer that breaks off aborts the
        stream, unless it has said before that it is over.
        """
        let_read = await self._streams.reader_turn()
        writing = _Writing(producer, answer, self._pace, let_read)
        incoming = writing.incoming
        try:
            ended = await writing.run()
            if ended and not answer.framed and not incoming.may_end_here:
                raise UpstreamBroken('upstream broke off the stream')
        except UpstreamBroken as ex:
            rest = incoming.rest(clean=False)
            if not incoming.complete:
                log.warning('stream %s: %s', producer.generation, ex)
                producer.abort(str(ex))
                return
            log.debug('stream %s was over: %s', producer.generation, ex)
        else:
            rest = incoming.rest(clean=ended)
        if not rest or await writing.write(rest):
            producer.finish()


class _Writing:
    """The writing of one answer.

    Args:
        producer: the producer of the stream, which is live.
        answer: the answer.
        pace: waits for the client of the POST.
        let_read: delivers what has been written to the readers of this event loop.

    Attributes:
        incoming: finds the events of the answer.
    """

    def __init__(
        self,
        producer: Producer,
        answer: Answer,
        pace: Pace,
        let_read: Callable[[], None],
    ) -> None:
        self._producer = producer
        self._answer = answer
        self._pace = pace
        self._let_read = let_read
        self._portions = Portions(producer.capacity)
        self._most = self._portions.most
        self._unread = 0
        self.incoming = Incoming(header(answer.headers, 'content-type'), answer.headers)

    async def run(self) -> bool:
        """Write until the body ends.

        Returns:
            Whether the body has ended. If not, the stream was cancelled, or the answer
            has said that it is over, but stayed open for too long.

        Raises:
            UpstreamBroken: the body broke off.
        """
        incoming, producer = self.incoming, self._producer
        loop, left_s = asyncio.get_running_loop(), AFTER_END_S
        dialect = default_dialect(producer.segment.content_type)
        try:
            async with asyncio.timeout(None) as limit:
                async for chunk in self._answer.chunks():
                    # Only waits for chunks count, not the waits for readers in
                    # ``write``. All waits count together: an answer that is over may
                    # send keep-alives for ever.
                    if (until := limit.when()) is not None:
                        left_s = until - loop.time()
                        limit.reschedule(None)
                    events = incoming.feed(chunk)
                    if not incoming.over:
                        left_s = AFTER_END_S
                    if dialect is not incoming.dialect:
                        dialect = incoming.dialect
                        producer.speaks(dialect.number)
                    if events and not await self.write(events):
                        return False
                    if incoming.over:
                        limit.reschedule(loop.time() + left_s)
        except TimeoutError:
            # Only ``limit`` raises this error: a source raises ``UpstreamBroken``.
            log.debug('stream %s is over and kept open', producer.generation)
            return False
        return True

    async def write(self, events: bytes) -> bool:
        """Write whole events; return False if the stream is over."""
        most, size = self._most, len(events)
        if self._unread + size <= most:
            # So it is with nearly every event: it is written in as few steps as can be.
            await self._producer.drain()
            self._unread += size
            return self._producer.write(events)
        if size <= most:
            # A generator for a single portion would cost more.
            return await self._write_piece(events)
        for portion in self._portions.of(events, self.incoming.framing):
            if not await self._write_piece(portion):
                return False
        return True

    async def _write_piece(self, piece: bytes) -> bool:
        # Small chunks are counted together: the loop has no turn between chunks that
        # have already arrived.
        if self._unread + len(piece) > self._most:
            await self._let_readers_read(max(len(piece), self._most))
            self._unread = 0
        await self._producer.drain()
        if not self._producer.write(piece):
            return False
        self._unread += len(piece)
        return True

    async def _let_readers_read(self, size: int) -> None:
        """Let the readers of this event loop have what has been written.

        The readers get one turn, and then the writer waits only for the client of the
        POST. The ring overtakes another reader that did not take the bytes in its turn.

        Args:
            size: bytes that are written next, at most.
        """
        self._let_read()
        await asyncio.sleep(0)
        await self._pace.room(self._producer, size + self._portions.last_event)
