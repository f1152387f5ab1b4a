"""The routes that the AI SDK's ``useChat`` knows, for streams that it has begun.

``useChat`` sends its questions to one path (``/api/chat``), which is the
application's or the upstream's, and comes back to two more below it::

    GET, HEAD  ID/stream  the whole stream, and live  when it is mounted (a reload), and
                                                      when its tab is shown after a cut
    POST       ID/stop    stops the stream            when the page asks for it

It takes any status but 200 and 204 for an error that it shows, and asks only once. So
204 says that there is nothing to resume, whatever the other routes answer::

    unknown, expired, another owner's         404 elsewhere
    of another generation than asked for      409 elsewhere
    the ring has dropped the beginning        400 elsewhere: what begins in the middle
                                              would be an error of types at the client
    over, or stopped                          200 elsewhere, and here with
                                              ``?finished=replay``: by then the
                                              application has stored the message

What has not begun in the seconds that a GET waits is 503 elsewhere, and 200 here: the
answer goes on to wait. A model may think for longer than that.

A 503 of any other cause stays one: the stream may be there, and 204 would say that its
message is whole. A worker that leaves before the stream has a byte answers 200, and is
cut: after a cut ``useChat`` comes back.

A stream that has failed is there to be resumed: nobody has stored it as a message, and
a client that was cut by the death of the stream's worker learns of the failure here.

A stop keeps the stream, unlike a DELETE: every tab gets the end that its dialect has
for a stop (``abort``), also a tab that has been cut and asks by ``?finished=replay``.
"""

from __future__ import annotations

import re

from shmstream.ids import validate_id
from shmstream.internals import counts_of
from shmstream.response_headers import ALWAYS
from shmstream.ring.state import State
from shmstream.serving.body_fields import BodyFields
from shmstream.serving.deployment import Deployment
from shmstream.serving.page_origin import check_page
from shmstream.serving.permit import checked
from shmstream.serving.problems import JSON, Problem, problem_of
from shmstream.serving.reply import Blocking, Reply
from shmstream.serving.request import Request
from shmstream.serving.resumes import count_failure

MAX_STOP_BYTES = 4 << 20
"""The largest body of a stop: it may hold the message so far, with what its tools have
found, and nobody reads that."""

_PIECE_BYTES = 64 * 1024

_NOTHING = frozenset({404, 409})
_GENERATION = re.compile('[0-9a-f]{16}')
_STREAM, _STOP = b'/stream', b'/stop'
_ACTIVE = 'activeStreamId'
_STOPPED = b'{"success":true}'


def find_chat_route(request: Request) -> bool:
    """Make it a request for one of the chat routes, if its path is that of one.

    Then ``chat`` of the request is true, and its path is the id only.

    Args:
        request: the path is what follows the chat's path and a slash.

    Returns:
        Whether it is one, also if it has been made one before.

    Example::

        request = Request('GET', b'chat%2F1/stream')
        assert find_chat_route(request)
        assert request.conversation_id() == 'chat/1'
    """
    if request.chat:
        return True
    last = _STOP if request.method == 'POST' else _STREAM
    found = request.path.endswith(last) and len(request.path) > len(last)
    if found and request.method in ('GET', 'HEAD', 'POST'):
        request.path = request.path[: -len(last)]
        request.chat, request.events = True, False
    return request.chat


def is_over(request: Request, ended: bool, state: State) -> bool:
    """Whether a stream has come to its end, so that its client has nothing to resume.

    Args:
        request: the request, which may ask for a replay.
        ended: whether the stream has ended. The caller reads this before ``state``.
        state: the stream's state.
    """
    if not ended or state is State.ABORTED:
        return False
    return request.parameter(b'finished') != b'replay'


def nothing_to_resume(request: Request, reply: Reply) -> Reply:
    """Return 204 instead of what other routes say of a stream that is not there.

    Example::

        asked = Request('GET', b'chat-1/stream')
        find_chat_route(asked)
        assert nothing_to_resume(asked, refusal(404, 'unknown')).status == 204
    """
    reads = request.chat and request.method in ('GET', 'HEAD')
    if reads and reply.status in _NOTHING:
        return Reply(204, [*ALWAYS], b'')
    return reply


def stop_chat(
    streams: Deployment, request: Request, body: bytes, *, gated: bool = False
) -> Blocking:
    """Return what to wait for before there is a reply to a POST of ``ID/stop``.

    It is 200 also if there is no such stream, or none of the generation that the body
    names as ``activeStreamId``: then nothing is stopped.

    Args:
        streams: the deployment.
        request: the request, whose owner is set.
        body: the whole body, or its first ``MAX_STOP_BYTES + 1`` bytes.
        gated: whether it has been checked which page has sent the request. If not, a
            page of another site gets 403 (``serving.page_origin``).
    """
    # The thread that asks the supervisor also looks at the body, which may be large.
    return Blocking(lambda: _stopped(streams, request, body, gated))


def _stopped(streams: Deployment, request: Request, body: bytes, gated: bool) -> Reply:
    try:
        if not gated:
            check_page(request)
        if request.generation is not None:
            raise Problem(403, 'This request may only read its stream')
        conv_id = request.conversation_id()
        validate_id(conv_id)
        if len(body) > MAX_STOP_BYTES:
            raise Problem(413, f'The body has more than {MAX_STOP_BYTES} bytes')
        generation = _active_stream(body)
        owner = checked(request.owner)
        streams.stop(conv_id, generation=generation, owner=owner)
    except Exception as ex:
        count_failure(counts_of(streams), request, ex)
        return problem_of(ex, str(request)).reply()
    headers = [
        (b'content-type', JSON.encode()),
        (b'cache-control', b'no-store'),
        (b'content-length', b'%d' % len(_STOPPED)),
    ]
    return Reply(200, headers, _STOPPED)


def _active_stream(body: bytes) -> str | None:
    """Return the generation that a body names; None if it names none.

    Raises:
        Problem: 400, the body is neither empty nor a JSON object, or what it names is
            no generation.
    """
    if not body or body.isspace():
        return None
    # A parser would let no other thread run until it is done, the event loop neither.
    # A step over a string takes as long as the string, so it gets a piece at a time.
    fields = BodyFields({_ACTIVE})
    for at in range(0, len(body), _PIECE_BYTES):
        fields.feed(body[at : at + _PIECE_BYTES])
        while not fields.look():
            pass
    if fields.twice is not None:
        raise Problem(400, f'{_ACTIVE!r} must come once in the body')
    if not fields.ended or fields.more:
        raise Problem(400, 'invalid body: no JSON object, or one of too many parts')
    active = fields.found.get(_ACTIVE)
    if active is None and not fields.unfit:
        return None
    # What a client names wrongly must not stop whatever is there.
    if fields.unfit or not isinstance(active, str) or not _GENERATION.fullmatch(active):
        raise Problem(
            400, f'Invalid {_ACTIVE!r}: must be a Stream-Generation, or be left out'
        )
    return active
