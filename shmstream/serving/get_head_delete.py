"""From a request for a stream to its reply: GET, HEAD and DELETE.

::

    GET     is the stream there?  -- no --> 404; 409 if it is of another generation;
              |                             503 if memory or descriptors are used up
              | has it begun?     -- no --> wait (``Pending``), then 404 or 503
              | is the offset (or the last event) still there?
              |                   -- no --> 400, with ``dropped_prefix``
              | has it ended?     -- yes -> its bytes, with their length; or those of a
              |                             ``Range``; 416 if it is beyond the end
              '-- no: what a follower reads, without a length
    HEAD    the same without a body, and with the stream's counts
    DELETE  the supervisor evicts the stream (``Blocking``); 204, also if there is none
    other   OPTIONS says which methods there are; all others get 405

A request that may see one generation only (``Grant``) may only read: every method but
GET and HEAD gets 403. If its stream has been replaced, it gets 404, and learns nothing
of the newer stream.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import replace

from shmstream.consumer import Consumer
from shmstream.errors import OffsetLost, StreamNotFound, StreamReplaced
from shmstream.ids import validate_id
from shmstream.internals import counts_of
from shmstream.metrics.catalogue import BYTES
from shmstream.ring.state import State
from shmstream.serving.chat_routes import is_over, nothing_to_resume, stop_chat
from shmstream.serving.deployment import Deployment
from shmstream.serving.event_search import AT_ONCE, to_search
from shmstream.serving.get_events import come_back, events_of
from shmstream.serving.headers import described
from shmstream.serving.permit import checked
from shmstream.serving.problems import RETRY_S, Problem, problem_of
from shmstream.serving.reply import Blocking, Ended, Later, Live, Pending, Reply
from shmstream.serving.request import Request
from shmstream.serving.resumes import (
    count_failure,
    count_resume,
    goes_on,
    transport_of,
)
from shmstream.serving.start import Start, begin_of, start_of

PENDING_S = 5.0
"""How long a GET waits for a stream to begin."""

WHOLE = 64 * 1024
"""The rest of an ended stream is copied into one piece if it has at most this size."""

_BYTES_OUT = BYTES.of('out')

METHODS = frozenset({'GET', 'HEAD', 'DELETE'})

_ALLOW = b'DELETE, GET, HEAD'


class Core:
    """Answers requests for the streams of a deployment. Raises nothing.

    Args:
        streams: the deployment: ``Streams``, or what has its methods.

    Example::

        # A writer for a server whose threads may wait; this one sends by ``print``.
        core = Core(streams)
        reply = core.answer(Request('GET', b'chat-1', b'from=13'))
        while not isinstance(reply, Reply):
            if isinstance(reply, Blocking):
                reply = reply.work()
            else:
                asyncio.run(reply.consumer.started(reply.wait_s))
                reply = reply.go_on(None)
        print(reply.status, reply.headers)
        match reply.body:
            case Ended(views=views):
                print(b''.join(views))
            case Live() as live:
                print(live.first, *live.follow())
            case data:
                print(data)
    """

    def __init__(self, streams: Deployment) -> None:
        self._streams = streams

    def answer(self, request: Request) -> Reply | Later:
        """Return the reply, or what to wait for first. Does not wait itself.

        Example::

            assert Core(streams).answer(Request('GET', b'unknown')).status == 404
        """
        try:
            match request.method:
                case 'GET' | 'HEAD':
                    return self._read(request)
                case _ if request.generation is not None:
                    raise Problem(403, 'This request may only read its stream')
                case 'DELETE':
                    return self._delete(request)
                case 'OPTIONS':
                    headers = [(b'allow', _ALLOW), (b'content-length', b'0')]
                    return Reply(200, headers, b'')
            reply = Problem(405, '405 Method Not Allowed').reply()
            reply.headers.append((b'allow', _ALLOW + b', OPTIONS'))
            return reply
        except Exception as ex:
            return self._failed(request, ex)

    def _failed(self, request: Request, error: Exception) -> Reply:
        count_failure(counts_of(self._streams), request, error)
        return failed(request, error)

    def stop_chat(
        self, request: Request, body: bytes, *, gated: bool = False
    ) -> Blocking:
        """Return what to wait for before a POST that stops a chat has its reply.

        Args:
            request: the request, which ``find_chat_route`` has found.
            body: the whole body, or its first ``chat_routes.MAX_STOP_BYTES + 1`` bytes.
            gated: whether it has been checked which page has sent the request. If not,
                a page of another site gets 403.

        Example::

            request = Request('POST', b'chat-1/stop')
            assert find_chat_route(request)
            assert Core(streams).stop_chat(request, b'').work().status == 200
        """
        return stop_chat(self._streams, request, body, gated=gated)

    def _delete(self, request: Request) -> Later:
        conv_id = request.conversation_id()
        validate_id(conv_id)
        generation = request.asked_generation()
        owner = checked(request.owner)

        def evict() -> Reply:
            try:
                self._streams.evict(conv_id, generation=generation, owner=owner)
            except Exception as ex:
                return self._failed(request, ex)
            return Reply(204, [], b'')

        return Blocking(evict)

    def _read(self, request: Request) -> Reply | Later:
        conv_id = request.conversation_id()
        start = start_of(request)
        asked, only = request.asked_generation(), request.generation
        request.transport = transport_of(request)
        request.resumes = start != 0 or asked is not None or goes_on(request)
        consumer = self._streams.open(conv_id, owner=checked(request.owner))
        generation = consumer.generation
        # ``only`` is compared before ``asked``: ``StreamReplaced`` would tell the
        # generation of a stream that this request may not see.
        if only is not None and only != generation:
            raise StreamNotFound
        if asked is not None and asked != generation:
            raise StreamReplaced(generation)
        return self.replay(request, consumer, start)

    def replay(
        self, request: Request, consumer: Consumer, start: Start
    ) -> Reply | Later:
        """Return the reply that sends a stream, or what to wait for first.

        Args:
            request: the request.
            consumer: the stream, which the client may read.
            start: where to begin.

        Raises:
            OffsetLost, Problem, StreamNotFound: the error to answer with.

        Example::

            core, asked = Core(streams), Request('GET', b'chat-1')
            assert core.replay(asked, consumer, 0).status == 200
        """
        # ``finished`` is read first: if it is true, the state that is read after it is
        # final.
        ended, state = consumer.finished, consumer.state
        if state is State.PENDING:
            go_on = functools.partial(self._go_on, request, consumer, start)
            return Pending(consumer, PENDING_S, go_on)
        if not isinstance(start, int) and to_search(consumer) > AT_ONCE:
            # The search is over megabytes, as a rule, and would block the event loop.
            return Blocking(lambda: self._looked_for(request, consumer, start))
        return self._begun(request, consumer, start, ended, state)

    def _looked_for(self, request: Request, consumer: Consumer, start: Start) -> Reply:
        try:
            ended, state = consumer.finished, consumer.state
            return self._begun(request, consumer, start, ended, state)
        except Exception as ex:
            return self._failed(request, ex)

    def _go_on(
        self,
        request: Request,
        consumer: Consumer,
        start: Start,
        error: Exception | None,
    ) -> Reply:
        try:
            if error is not None:
                raise error
            # A stream is cancelled before it is evicted: its state tells both.
            ended, state = consumer.finished, consumer.state
            if state is State.PENDING and not request.chat:
                text = 'The answer has not begun yet, retry later'
                raise Problem(503, text, RETRY_S, 'not_begun')
            return self._begun(request, consumer, start, ended, state)
        except Exception as ex:
            return self._failed(request, ex)

    def _begun(
        self,
        request: Request,
        consumer: Consumer,
        start: Start,
        ended: bool,
        state: State,
    ) -> Reply:
        if state is State.CANCELLED and consumer.never_began:
            raise StreamNotFound
        if request.events:
            return events_of(request, consumer, self._streams.leaving, ended, state)
        if request.chat and is_over(request, ended, state):
            raise StreamNotFound
        status, offset = begin_of(request, consumer, start, ended)
        headers = described(consumer, offset, ended, state)
        # A complete stream has not failed, and most that are read have ended so.
        cut = '' if state is State.COMPLETE else consumer.untold_failure
        total = consumer.total_bytes
        if cut and offset >= total:
            raise Problem(502, cut)
        if ended and not cut:
            size = max(total - offset, 0)
            # It comes first, because gunicorn's ``send`` looks for it in each response
            # (``deploy.gunicorn_insides.send_headers_early``).
            headers.insert(0, (b'content-length', b'%d' % size))
        if status == 206:
            part = b'bytes %d-%d/%d' % (offset, total - 1, total)
            headers.append((b'content-range', part))
        if request.method == 'HEAD':
            headers.append((b'stream-total-bytes', b'%d' % total))
            headers.append((b'stream-dropped-prefix', b'%d' % consumer.dropped_prefix))
            return Reply(status, headers, b'', consumer)
        counts, transport = counts_of(consumer), request.transport
        if cut:
            # The client gets the bytes that are left, and then its response is cut.
            live = Live(consumer, offset, self._streams.leaving, transport=transport)
            count_resume(counts, request)
            return Reply(200, headers, live, consumer)
        if not ended:
            nothing_new = consumer.total_bytes <= offset
            # ``useChat`` gives up on an error, and comes back after a cut.
            if nothing_new and self._streams.leaving() and not request.chat:
                text = 'This worker is leaving, ask again'
                raise Problem(503, text, RETRY_S, 'leaving')
            # Who comes back learns how much was written meanwhile.
            headers.append((b'stream-total-bytes', b'%d' % total))
            there = consumer.read(offset, WHOLE)
            live = Live(
                *(consumer, offset + len(there), self._streams.leaving, there),
                transport=transport,
                resumed=offset > 0,
            )
            counts.add(_BYTES_OUT, len(there))
            count_resume(counts, request)
            return Reply(200, headers, live, consumer)
        views = consumer.views(offset)
        count_resume(counts, request)
        if size <= WHOLE:
            # Who sends a longer rest counts what the client has got of it.
            counts.add(_BYTES_OUT, size)
        body: bytes | Ended = (
            b''.join(views)
            if size <= WHOLE
            else Ended(consumer, offset, views, self._streams.leaving)
        )
        return Reply(status, headers, body, consumer)


def from_the_beginning(consumer: Consumer, leave: Callable[[], bool]) -> Reply:
    """Return the reply to the request that has made a stream: all of it, live.

    Args:
        consumer: the stream, which is no longer pending.
        leave: returns whether the follower is to be let go.
    """
    # ``finished`` is read before ``state``: the state is then final if it is true.
    headers = described(consumer, 0, consumer.finished, consumer.state)
    live = Live(consumer, 0, leave, transport='post')
    return Reply(200, headers, live, consumer)


def failed(request: Request, error: Exception) -> Reply:
    """Return the reply to a request whose handling has raised this error."""
    if request.chat and isinstance(error, OffsetLost):
        # What begins in the middle is of no use to this client.
        error = StreamNotFound()
    return suited(request, problem_of(error, str(request)).reply())


def nowhere(method: str) -> Reply:
    """Return the reply to a request for an address that belongs to no stream."""
    return failed(Request(method, b''), Problem(404, 'No stream can be found here'))


def suited(request: Request, reply: Reply) -> Reply:
    """Return a refusal as the request needs it; HEAD has no body.

    See ``come_back`` and ``nothing_to_resume``.
    """
    reply = nothing_to_resume(request, come_back(request, reply))
    return replace(reply, body=b'') if request.method == 'HEAD' else reply
