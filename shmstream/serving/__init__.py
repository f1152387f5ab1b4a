"""The serving core: it decides how a request for a stream is answered.

The core knows no framework and no server, and sends nothing: it takes a request and
returns a reply. It reads streams through the library: it calls what ``Deployment``
lists, and a reply carries the stream that is to be sent. If something has to be waited
for first, the core returns that as a value (``Later``), because a thread and an event
loop wait differently. Two other packages, ``shmstream.asgi`` and ``shmstream.wsgi``,
make the request from what their servers give them, wait, and send the reply::

    request.py          the request: method, target, headers, owner
    get_head_delete.py  from the request to the reply
    deployment.py       what the core needs of ``shmstream.Streams``
    get_events.py       the same streams for a browser's ``EventSource``
    event_framer.py     from the bytes of a stream to the events that are sent
    event_id.py         their ids: read and written
    own_events.py       the events that the stream has not: end, lost, replaced
    framed_follower.py  a follower whose bytes are framed anew
    chat_routes.py      the same streams for ``useChat``, which resumes by itself
    page_origin.py      whether the page of another site has sent a request
    body_fields.py      members of a JSON body, found without parsing it
    lookup.py           which of a client's conversations have a stream
    reply.py            the reply: status, headers, body; and what to wait for before it
    start.py            where a replay begins
    last_event.py       the offset for a client that names the last event it has
    sequence_number.py  the same for a client that names its number
    event_search.py     searches a stream's bytes; where events begin and end
    responses.py        OpenAI's Responses by their ids
    posted_again.py     the rest of a stream, for a POST that is sent again
    headers.py          the headers that describe a stream
    problems.py         errors as replies, sorted by who is to blame
    module.py           the module for pages, beside the streams of an application
    permit.py           how an application says who may read and stop a stream
"""

from shmstream.serving.chat_routes import find_chat_route
from shmstream.serving.get_events import come_back
from shmstream.serving.get_head_delete import Core
from shmstream.serving.permit import Grant, Permit, Verdict
from shmstream.serving.problems import Problem, refusal
from shmstream.serving.reply import (
    Blocking,
    Cut,
    Ended,
    Later,
    Live,
    Pending,
    Reply,
)
from shmstream.serving.request import Request

__all__ = [
    'Blocking',
    'Core',
    'Cut',
    'Ended',
    'Grant',
    'Later',
    'Live',
    'Pending',
    'Permit',
    'Problem',
    'Reply',
    'Request',
    'Verdict',
    'come_back',
    'find_chat_route',
    'refusal',
]
