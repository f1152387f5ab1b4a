"""Writes an upstream's answer into a ring, at the pace of this worker's readers.

An upstream that hands over a lot at once could overtake readers on the same event loop
before they have had a turn. So the writer lets the readers read after each part of the
ring.
"""

from __future__ import annotations

import asyncio
import logging

from shmstream.http.own_client import OwnClient
from shmstream.producer import Producer
from shmstream.streams import Streams
from shmstream.upstream.source import Answer, UpstreamBroken
from shmstream.wakeups.hub_on_loop import LoopHub

log = logging.getLogger('shmstream.http')

_MOST_AT_ONCE = 64 * 1024
"""Bytes that are written without giving this worker's readers a turn, at most."""

_PART_OF_RING = 4
"""At most a quarter of the ring is written without giving the readers a turn."""

_LAST_EVENT = 4096
"""Room in the ring for the event that tells the end, in bytes, at most."""


class AnswerWriter:
    """Writes one answer.

    Args:
        streams: the deployment, for this process's readers.
        client: the POST's own, which the writer waits for.
    """

    def __init__(self, streams: Streams, client: OwnClient) -> None:
        self._streams = streams
        self._client = client

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
                        await self._let_readers_read(hub, producer, most)
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

    async def _let_readers_read(
        self, hub: LoopHub, producer: Producer, size: int
    ) -> None:
        """Let the readers of this event loop have what has been written.

        The writer gives them a turn, and waits for nobody but the POST's own client:
        another reader that cannot take the bytes by then is overtaken by the ring.

        Args:
            hub: the hub of this event loop.
            producer: the stream's.
            size: bytes that are written next, at most.
        """
        hub.look()
        await asyncio.sleep(0)
        segment = producer.segment
        last_event = min(_LAST_EVENT, segment.reader.capacity // 8)
        await self._client.room(segment, size + last_event)
