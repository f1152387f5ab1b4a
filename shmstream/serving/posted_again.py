"""A POST that is sent again, for the rest of the answer that its client has lost.

Some clients (TanStack AI, fetch-event-source) resume by the same POST, which has one
header more: ``Last-Event-ID``. To generate a second answer would be wrong, so the rest
of the stream is sent, if there is a stream::

    the id of the last event          what is sent
    --------------------------------  --------------------------------------------------
    one that the stream itself has    the stream's bytes after that event
    one that we gave out (events)     the events after that one
    any other                         400, as for every offset that is lost
    (no stream of this conversation)  nothing here: the POST is a new one
    (its stream never begins)         the same

A POST without an id of an event is a new one in any case. A GET by which a client joins
such a run (``?offset=-1``) is answered in the same way, without an id by all of the
stream. If there is no stream, or no valid id, the GET is the upstream's.
"""

from __future__ import annotations

from shmstream.errors import StreamNotFound
from shmstream.internals import counts_of
from shmstream.serving.deployment import Deployment
from shmstream.serving.event_id import parsed
from shmstream.serving.get_head_delete import Core, failed
from shmstream.serving.reply import Later, Reply
from shmstream.serving.request import Request
from shmstream.serving.resumes import count_failure
from shmstream.serving.start import start_of

LAST_EVENT = b'last-event-id'


def rest_of(
    streams: Deployment, core: Core, request: Request, conv_id: str
) -> Reply | Later | None:
    """Return the reply with the rest of a stream; None if there is no such stream.

    Args:
        streams: the deployment.
        core: sends the stream.
        request: the request, with its owner.
        conv_id: the id of its conversation.
    """
    last = request.header(LAST_EVENT) or b''
    # Nothing else in the request says where to begin.
    asked = Request('GET', request.path, b'', [(LAST_EVENT, last)], request.owner)
    asked.transport, asked.resumes = 'post', bool(last)
    try:
        consumer = streams.open(conv_id, owner=request.owner)
        ours = parsed(last)
        if ours is not None and ours.generation == consumer.generation:
            asked.events = True
        return core.replay(asked, consumer, start_of(asked))
    except StreamNotFound:
        return None
    except Exception as ex:
        count_failure(counts_of(streams), asked, ex)
        return failed(asked, ex)
