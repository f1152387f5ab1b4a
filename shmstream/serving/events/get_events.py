"""From a request for the events of a stream to its reply: GET and HEAD.

::

    has the stream ended, and has the client all of it?  -- yes -> 204: it comes no more
    is its last event of this stream?   -- no --> ``replaced``, and all from the start
    is what comes next still there?     -- no --> ``lost``, and the rest
    what a framer makes of what a follower reads

What another route answers with 503 is 200 and a cut here (``come_back``).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from shmstream.consumer import MAX_OFFSET, Consumer
from shmstream.dialects.framing import EVENT_STREAM, Framing, framing_of
from shmstream.dialects.splitter import event_end
from shmstream.errors import OffsetLost
from shmstream.ring.state import State
from shmstream.serving.events import told
from shmstream.serving.events.event_id import last_event_of
from shmstream.serving.events.framer import EventFramer
from shmstream.serving.headers import described
from shmstream.serving.problems import Problem
from shmstream.serving.reply import Cut, Live, Reply
from shmstream.serving.request import Request

_AT_ONCE = 64 * 1024
_TRIES = 3


def events_of(
    request: Request,
    consumer: Consumer,
    leave: Callable[[], bool],
    ended: bool,
    state: State,
) -> Reply:
    """Return the reply.

    Args:
        request: the request.
        consumer: the stream, which has begun.
        leave: returns whether the follower is to be let go.
        ended: whether the stream has ended. The caller reads this before ``state``.
        state: the stream's state.

    Raises:
        Problem: 400, the client's last event is none of this stream; 406, the stream is
            not made of events.
    """
    if framing_of(consumer.content_type) is Framing.OPAQUE:
        raise Problem(406, f'No events are known in {consumer.content_type}')
    last = last_event_of(request)
    offset, first = 0, [told.RETRY]
    if last is not None and last.generation == consumer.generation:
        offset = last.offset
        if offset > consumer.total_bytes:
            raise Problem(400, "Invalid 'Last-Event-ID': beyond the end of the stream")
        if ended and offset == consumer.total_bytes:
            return Reply(204, [], b'', consumer)
    elif last is not None:
        first.append(told.replaced(consumer))
    there: bytes | None = None
    for _ in range(_TRIES):
        try:
            there = consumer.read(offset, _AT_ONCE)
            break
        except OffsetLost:
            offset = _first_event(consumer)
    else:
        # The ring is overwritten faster than it can be read.
        return come_back(request, Problem(503, 'the ring is too small').reply())
    if offset and (last is None or offset != last.offset or len(first) > 1):
        first.append(told.lost(consumer))
    headers = [
        (name, EVENT_STREAM.encode() if name == b'content-type' else value)
        for name, value in described(consumer, offset, ended, state)
    ]
    if request.method == 'HEAD':
        return Reply(200, headers, b'', consumer)
    framer = EventFramer(consumer, offset)
    if there:
        first.append(framer.feed(there))
    offset += len(there)
    body = Live(consumer, offset, leave, b''.join(first), framer=framer)
    return Reply(200, headers, body, consumer)


def come_back(request: Request, reply: Reply) -> Reply:
    """Return 200 and a cut instead of a 503, if the request is for events.

    For an ``EventSource`` 503 is final, and a cut is not.
    """
    if reply.status != 503 or not request.wants_events():
        return reply
    headers = [
        (name, EVENT_STREAM.encode() if name == b'content-type' else value)
        for name, value in reply.headers
        if name != b'content-length'
    ]
    return replace(reply, status=200, headers=headers, body=Cut(told.COME_BACK))


def _first_event(consumer: Consumer) -> int:
    """Return where the first event begins that the ring holds whole.

    What it begins with may be the rest of an event, and is left out.
    """
    begin = consumer.dropped_prefix
    if begin == 0:
        return 0
    framing, window, at = framing_of(consumer.content_type), b'', begin
    while at - begin <= consumer.total_bytes - begin <= MAX_OFFSET:
        piece = consumer.read(at, _AT_ONCE)
        if not piece:
            break
        window += piece
        at += len(piece)
        end = event_end(window, 0, framing)
        if end:
            return begin + end
    return at
