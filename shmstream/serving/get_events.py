"""The same streams for a plain ``EventSource``, which can count no bytes.

A request asks for it by ``?as=events``, and at the service by the path ``/v1/events``.
Each event goes out in one piece and as it was written, with one line more: an id, which
the browser sends back by itself (``Last-Event-ID``) when it has lost its connection::

    the stream              what is sent
    ----------------------  ----------------------------------
                            retry: 1000                          once, at the beginning
    event: delta            event: delta
    id: 17                                                       an id of its own goes
    data: {"text": "Hi"}    data: {"text": "Hi"}
                            id: 00c0ffee00c0ffee-36              generation, and offset
                                                                 of the event's end
                            : ping                               in silence
                            event: end
                            data: {"state": "complete", ...}
                            id: 00c0ffee00c0ffee-36

The id comes after the data, so that no client takes it before it has the event. JSON
lines become the data of one event each.

An ``EventSource`` comes back after a cut and after a clean end, and gives up for good
on 204 and on any status but 200. So an answer that is worth coming back for is 200 and
then a cut, whatever status the other routes give it; and who has all of it gets 204.

From a request to its reply, GET or HEAD::

    has the stream ended, and has the client all of it?  -- yes -> 204: it comes no more
    is its last event of this stream?   -- no --> ``replaced``, and all from the start
    is what comes next still there?     -- no --> ``lost``, and the rest
    what a framer makes of what a follower reads

What another route answers with 503 is 200 and a cut here (``come_back``).
"""

from __future__ import annotations

from collections.abc import Callable

from shmstream.consumer import Consumer
from shmstream.dialects.framing import EVENT_STREAM, Framing, framing_of
from shmstream.errors import OffsetLost
from shmstream.internals import counts_of
from shmstream.metrics.catalogue import BYTES
from shmstream.response_headers import ALWAYS
from shmstream.ring.state import State
from shmstream.serving import own_events
from shmstream.serving.event_framer import EventFramer
from shmstream.serving.event_id import last_event_of
from shmstream.serving.headers import described
from shmstream.serving.problems import RETRY_S, Problem
from shmstream.serving.reply import Cut, Live, Reply
from shmstream.serving.request import Request
from shmstream.serving.resumes import count_resume

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
    offset, first, result = 0, [own_events.RETRY], 'ok'
    if last is not None and last.generation == consumer.generation:
        offset = last.offset
        if offset > consumer.total_bytes:
            raise Problem(400, "Invalid 'Last-Event-ID': beyond the end of the stream")
        if ended and offset == consumer.total_bytes:
            count_resume(counts_of(consumer), request)
            return Reply(204, [], b'', consumer)
    elif last is not None:
        result = 'replaced'
        first.append(own_events.replaced(consumer))
    offset, there, lost = _read(consumer, offset)
    if lost:
        result = 'lost'
        first.append(own_events.lost(consumer))
    count_resume(counts_of(consumer), request, result)
    headers = [
        (name, EVENT_STREAM.encode() if name == b'content-type' else value)
        for name, value in described(consumer, offset, ended, state)
    ]
    if request.method == 'HEAD':
        return Reply(200, headers, b'', consumer)
    framer = EventFramer(consumer, offset, within=lost)
    if there:
        counts_of(consumer).add(BYTES.of('out'), len(there))
        first.append(framer.feed(there))
    resumed = offset > 0
    offset += len(there)
    if ended and offset == consumer.total_bytes:
        body = b''.join([*first, framer.end()])
        headers.insert(0, (b'content-length', b'%d' % len(body)))
        return Reply(200, headers, body, consumer)
    live = Live(
        consumer,
        offset,
        leave,
        b''.join(first),
        framer=framer,
        transport=request.transport,
        resumed=resumed,
    )
    return Reply(200, headers, live, consumer)


def _read(consumer: Consumer, offset: int) -> tuple[int, bytes, bool]:
    """Return where to begin, the bytes there, and whether that is within an event.

    If the ring has dropped the offset, that is where the ring begins. What the ring
    begins with may be the rest of an event.

    Raises:
        Problem: 503, the ring is overwritten faster than it is read here.
    """
    lost = False
    for _ in range(_TRIES):
        try:
            return offset, consumer.read(offset, _AT_ONCE), lost
        except OffsetLost:
            offset, lost = consumer.dropped_prefix, True
    raise Problem(503, 'The ring is overwritten too fast', RETRY_S)


def come_back(request: Request, reply: Reply) -> Reply:
    """Return 200 and a cut instead of a 503, if the request reads events.

    For an ``EventSource`` 503 is final, and a cut is not.

    Example::

        asked = Request('GET', b'chat-2', b'as=events')
        assert come_back(asked, refusal(503, 'no supervisor')).status == 200
    """
    reads = request.method in ('GET', 'HEAD') and request.events
    if reply.status != 503 or not reads:
        return reply
    headers = [(b'content-type', EVENT_STREAM.encode()), *ALWAYS]
    return Reply(200, headers, Cut(own_events.COME_BACK))
