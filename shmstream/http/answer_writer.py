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
"""

from __future__ import annotations

import asyncio
import logging

from shmstream.dialects.incoming import Incoming
from shmstream.dialects.table import default_dialect
from shmstream.ids import usable_alias
from shmstream.internals import note_alias, note_cause, note_dialect
from shmstream.logs.cause import Cause
from shmstream.producer import Producer
from shmstream.producing.loop_writer import LoopWriter
from shmstream.producing.pace import Pace
from shmstream.streams import Streams
from shmstream.upstream.source import Answer, UpstreamBroken, header

log = logging.getLogger('shmstream.http')

AFTER_END_S = 1.0
"""Seconds for which an answer that has said that it is over may stay open."""


async def write_answer(
    streams: Streams, pace: Pace, producer: Producer, answer: Answer
) -> None:
    """Write an answer into a producer's ring, and end the stream with it.

    Returns early when the stream is cancelled. An answer that breaks off aborts the
    stream, unless it has said before that it is over.

    Args:
        streams: the deployment. Its readers in this process are given turns.
        pace: waits for the client of the POST.
        producer: the producer of the stream, which is live.
        answer: the answer.
    """
    incoming = Incoming(header(answer.headers, 'content-type'), answer.headers)
    let_read = await streams.reader_turn()
    writer = LoopWriter(producer, incoming, pace, let_read)
    try:
        ended = await _write_body(producer, answer, incoming, writer)
        if ended and not answer.framed and not incoming.may_end_here:
            raise UpstreamBroken('upstream broke off the stream')
    except UpstreamBroken as ex:
        rest = incoming.rest(clean=False)
        if not incoming.complete:
            log.warning('stream %s: %s', producer.generation, ex)
            note_cause(producer, Cause.UPSTREAM)
            producer.abort(str(ex))
            return
        log.debug('stream %s was over: %s', producer.generation, ex)
    else:
        rest = incoming.rest(clean=ended)
    if not rest or await writer.write(rest):
        producer.finish()


async def _write_body(
    producer: Producer, answer: Answer, incoming: Incoming, writer: LoopWriter
) -> bool:
    """Write until the body ends.

    Returns:
        Whether the body has ended. If not, the stream was cancelled, or the answer has
        said that it is over, but stayed open for too long.

    Raises:
        UpstreamBroken: the body broke off.
    """
    loop, left_s = asyncio.get_running_loop(), AFTER_END_S
    dialect = default_dialect(producer.content_type)
    response_id: object = None
    try:
        async with asyncio.timeout(None) as limit:
            async for chunk in answer.chunks():
                # Only waits for chunks count, not the waits for readers in ``write``.
                # All waits count together: an answer that is over may send keep-alives
                # for ever.
                if (until := limit.when()) is not None:
                    left_s = until - loop.time()
                    limit.reschedule(None)
                events = incoming.feed(chunk)
                if not incoming.over:
                    left_s = AFTER_END_S
                if dialect is not incoming.dialect:
                    dialect = incoming.dialect
                    note_dialect(producer, dialect.number)
                if response_id is not incoming.response_id:
                    response_id = incoming.response_id
                    # Before the event is written: who knows the id can use it.
                    if (alias := usable_alias(response_id)) is not None:
                        note_alias(producer, alias)
                if events and not await writer.write(events):
                    return False
                if incoming.over:
                    limit.reschedule(loop.time() + left_s)
    except TimeoutError:
        # Only ``limit`` raises this error: a source raises ``UpstreamBroken``.
        log.debug('stream %s is over and kept open', producer.generation)
        return False
    return True
