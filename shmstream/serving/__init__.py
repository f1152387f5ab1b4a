"""The serving core: what a request for a stream is answered with.

It knows no framework, no server and no socket: a request comes in, a reply goes out.
What has to be waited for is a value as well (``Later``), because a thread and an event
loop wait differently. Beside it stand two writers, ``shmstream.asgi`` and
``shmstream.wsgi``, which turn what their servers give them into a request, wait, and
send the reply::

    request.py   what is asked: method, target, headers, owner
    core.py      GET, HEAD, DELETE: from the request to the reply
    lookup.py    which of a client's conversations have a stream
    reply.py     what is answered: status, headers, body; and what has to be waited for
    last_event.py  where a client goes on that names the last event it has
    headers.py   the headers that describe a stream
    problems.py  errors as replies, told by who is to blame
    permit.py    the application's word on who may ask
"""

from shmstream.serving.core import Core
from shmstream.serving.permit import Grant, Permit, Verdict
from shmstream.serving.problems import Problem, refusal
from shmstream.serving.reply import Blocking, Ended, Later, Live, Pending, Reply
from shmstream.serving.request import Request

__all__ = [
    'Blocking',
    'Core',
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
    'refusal',
]
