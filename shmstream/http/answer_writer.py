"""Writes an upstream's answer into a ring, at the pace of this worker's readers.

An upstream that hands over a lot at once could overtake readers of the same event loop
before they have had a turn. So the writer lets them read after each part of the ring.
"""

from __future__ import annotations

import asyncio
import logging

from shmstream.producer import Producer
from shmstream.streams import Streams
from shmstream.upstream.source import Answer, UpstreamBroken
from shmstream.wakeups.hub_on_loop import LoopHub

log = logging.getLogger('shmstream.http')

_MOST_AT_ONCE = 64 * 1024
"""Bytes that are written without giving this worker's readers a turn, at most."""

_PART_OF_RING = 4
"""At most a quarter of the ring is written without giving them a turn."""

_ARRIVAL_TURNS = 200
"""Turns of the event loop that the POST's own response has to begin to read."""


class AnswerWriter:
    """Writes one answer.

    Args:
        streams: the deployment, for this process's readers.
    """

    def __init__(self, streams: Streams) -> None:
        self._streams = streams
        self._response_due = True

    def response_reads(self) -> None:
        """Note that the POST's own response reads now, or never will.

        Until then the writer gives it time to begin, so that it misses no byte.
        """
        self._response_due = False

    async def write(self, producer: Producer, answer: Answer) -> None:
        """Write the answer into the producer's ring, and end the stream with it.

        Returns early when the stream is cancelled. An answer that breaks off aborts the
        stream.
        """
        hub = await self._streams.process.followers.loop_hub()
        most = min(_MOST_AT_ONCE, producer.segment.reader.capacity // _PART_OF_RING)
        unread = 0
        try:
            async for chunk in answer.chunks():
                for at in range(0, len(chunk), most):
                    part = chunk[at : at + most]
                    # Small chunks are counted together: the loop has no turn between
                    # chunks that have already arrived.
                    if unread + len(part) > most:
                        await self._let_readers_read(hub)
                        unread = 0
                    await producer.drain()
                    if not producer.write(part):
                        return
                    unread += len(part)
        except UpstreamBroken as ex:
            log.warning('stream %s: %s', producer.generation, ex)
            producer.abort(str(ex))
        else:
            producer.finish()

    async def _let_readers_read(self, hub: LoopHub) -> None:
        """Let the readers of this event loop have what has been written.

        The writer gives turns and waits for nobody: a reader that cannot take the bytes
        within its turns is overtaken by the ring.
        """
        hub.look()
        await asyncio.sleep(0)
        for _ in range(_ARRIVAL_TURNS):
            if not self._response_due:
                return
            await asyncio.sleep(0)
        self._response_due = False
