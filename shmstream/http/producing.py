"""Passes requests upstream. A streamed answer to a POST with an id becomes a stream."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable
from http import HTTPStatus
from typing import Any

import falcon
import falcon.asgi

from shmstream.asgi.answering import settled
from shmstream.asgi.stalled import Reader
from shmstream.asgi.targets import query_of
from shmstream.asgi.writer import send_live
from shmstream.errors import InvalidConversationId
from shmstream.follower import Follower
from shmstream.http import falcon_request
from shmstream.http.announcing import Announcing
from shmstream.http.answer_task import AnswerTask, Streamed
from shmstream.http.api_keys import ApiKeys
from shmstream.http.ask_upstream import ask, becomes_stream
from shmstream.http.conversation import Conversation
from shmstream.http.forwarded import forwarded
from shmstream.http.passing_through import body_of, copy_headers, hand_on
from shmstream.http.prefix import prefix_of
from shmstream.http.replies import add_headers, send
from shmstream.http.spans import of_post
from shmstream.http.streamed_response import StreamedResponse
from shmstream.http.uploads import MAX_BODY, Upload, Uploads
from shmstream.id_from import CHAT_ID
from shmstream.internals import note_transport
from shmstream.logs.trace_context import trace_context
from shmstream.producing.pace import Pace
from shmstream.serving.deployment import Deployment
from shmstream.serving.get_head_delete import Core, from_the_beginning
from shmstream.serving.headers import addresses
from shmstream.serving.posted_again import rest_of
from shmstream.serving.problems import Problem
from shmstream.serving.reply import Reply
from shmstream.serving.request import Request, parameter
from shmstream.setting_parsers import OnDisconnect, parse_on_disconnect
from shmstream.settings import Settings
from shmstream.streams import Streams
from shmstream.upstream.hops import end_to_end
from shmstream.upstream.source import Answer, Headers, Source, UpstreamRequest

OWN_HEADERS = frozenset({'x-conversation-id', 'stream-on-disconnect'})
"""Headers that are not sent upstream. If llama.cpp got them, it would keep a session of
its own, and go on generating after the service has hung up."""

_SET_HERE = frozenset(
    # ``Content-Encoding`` can only say that there is none, and replays do not say that.
    {'content-type', 'content-length', 'content-encoding'}
    | {'cache-control', 'x-accel-buffering'}
)


class Gateway:
    """A Falcon sink for all paths.

    Args:
        streams: the deployment.
        core: sends the rest of a stream, to who has lost it.
        source: answers the requests: the upstream, or the demo model.
        settings: say what happens to a stream that nobody listens to, where the ids of
            conversations are, and which content types become streams.
        keys: make the tokens for new streams.
        uploads: bounds the request bodies that are held in memory.
    """

    def __init__(
        self,
        streams: Streams,
        core: Core,
        source: Source,
        settings: Settings,
        keys: ApiKeys,
        uploads: Uploads,
    ) -> None:
        self._keys = keys
        self._uploads = uploads
        self._streams = streams
        self._core = core
        self._source = source
        self._on_disconnect = settings.on_disconnect
        self._small_s = settings.send_timeout
        self._id_from = settings.id_from
        self._chat = frozenset(settings.chat)
        self._stream_types = settings.stream_types

    async def __call__(
        self,
        req: falcon.asgi.Request,
        resp: falcon.asgi.Response | None,
        ws: object = None,
        **_: Any,
    ) -> None:
        """Answer the request with the upstream's answer, or with a stream of it."""
        if resp is None:
            # This is a WebSocket (``ws``). Falcon refuses it, as nothing accepts it:
            # the service hands WebSockets to ``http.websockets``, and not to Falcon.
            return
        if req.method == 'POST':
            conversation = self._conversation(req)
            if conversation.possible:
                await self._produce(req, resp, conversation)
                return
        elif (
            req.method == 'GET'
            and _joins(req)
            and await self._sent_rest(req, resp, self._joined(req))
        ):
            return
        body = await body_of(req, self._small_s)
        hand_on(req, resp, await ask(self._source, self._asked(req, body)))

    def _conversation(self, req: falcon.asgi.Request) -> Conversation:
        if req.path not in self._chat:
            return Conversation(req, self._id_from)
        # ``useChat`` asks for streams only, and does not say so.
        return Conversation(req, (CHAT_ID, *self._id_from), streamed=True)

    def _joined(self, req: falcon.asgi.Request) -> str | None:
        try:
            return Conversation(req, self._id_from).conv_id()
        except (InvalidConversationId, Problem):
            # The parameters may mean something else to the upstream.
            return None

    def _asked(
        self, req: falcon.asgi.Request, body: bytes | AsyncIterator[bytes] | None
    ) -> UpstreamRequest:
        return UpstreamRequest(
            req.method,
            _target(req),
            forwarded(req.scope, self._headers(req)),
            body,
            prefix_of(req.scope),
        )

    def _asked_for_session(
        self, req: falcon.asgi.Request, body: Upload
    ) -> UpstreamRequest:
        asked = self._asked(req, body)
        # The answer must not be compressed: nobody could resume it at an offset. A
        # request that says nothing accepts any coding (RFC 9110, section 12.5.3).
        asked.headers[:] = [h for h in asked.headers if h[0] != 'accept-encoding']
        asked.headers.append(('accept-encoding', 'identity'))
        if not any(name == 'content-length' for name, _ in asked.headers):
            # The body came in chunks, which not every upstream accepts.
            asked.headers.append(('content-length', str(body.size)))
        return asked

    async def _produce(
        self,
        req: falcon.asgi.Request,
        resp: falcon.asgi.Response,
        conversation: Conversation,
    ) -> None:
        policy = self._policy(req)
        owner: bytes = req.context.owner
        trace = trace_context(req.scope['headers'])

        def begin(conv_id: str, answered: Answer | None = None) -> AnswerTask:
            return AnswerTask(
                self._streams,
                self._source,
                conv_id,
                owner,
                policy,
                answered,
                self._stream_types,
                trace,
                of_post(req.scope['headers']),
            )

        again = bool(req.get_header('Last-Event-ID'))
        announcing = Announcing(self._uploads, conversation, begin, at_once=not again)
        body = await announcing.read(req, MAX_BODY)
        if again:
            if await self._sent_rest(req, resp, conversation.conv_id()):
                body.close()
                return
            announcing.begin()
        task = announcing.task
        if task is not None:
            task.ask(self._asked_for_session(req, body))
        else:
            conv_id, types = conversation.conv_id(), self._stream_types
            asked = (
                self._asked(req, body)
                if conv_id is None
                else self._asked_for_session(req, body)
            )
            # No answer task exists yet. A client that leaves now ends the upstream's
            # work, as it would without the service.
            answer = await self._send_announcing_nothing(asked, body)
            if conv_id is None or not becomes_stream(asked, answer, types):
                hand_on(req, resp, answer)
                return
            try:
                task = begin(conv_id, answer)
            except BaseException:
                answer.close()
                raise
        answered = await task.answer()
        if not isinstance(answered, Streamed):
            hand_on(req, resp, answered)
            return
        try:
            self._hand_on_stream(req, resp, answered, task.pace)
        except BaseException:
            task.pace.left()
            raise

    async def _sent_rest(
        self,
        req: falcon.asgi.Request,
        resp: falcon.asgi.Response,
        conv_id: str | None,
    ) -> bool:
        """Answer with the rest of the stream that is there; whether there is one."""
        if conv_id is None:
            return False
        asked = falcon_request.asked_of_core(req)
        reply = await settled_rest(self._streams, self._core, asked, conv_id)
        if reply is not None:
            await send(reply, req, resp)
        return reply is not None

    async def _send_announcing_nothing(
        self, asked: UpstreamRequest, body: Upload
    ) -> Answer:
        try:
            return await ask(self._source, asked)
        except BaseException:
            # The traceback would keep the part that the upstream has not taken.
            body.close()
            raise

    def _hand_on_stream(
        self,
        req: falcon.asgi.Request,
        resp: falcon.asgi.Response,
        answer: Streamed,
        pace: Pace,
    ) -> None:
        owner: bytes = req.context.owner
        resp.status = answer.status
        consumer = self._streams.consumer_of(answer.producer)
        reply = from_the_beginning(consumer, leave=_stays)
        copy_headers(resp, [h for h in answer.headers if h[0].lower() not in _SET_HERE])
        add_headers(reply.headers, resp)
        mount = prefix_of(req.scope) + falcon_request.STREAM_PATH
        add_headers(addresses(mount, consumer.conv_id, answer.headers), resp)
        token = self._keys.token(owner, consumer.conv_id, consumer.generation)
        if token is not None:
            resp.set_header('Stream-Token', token)
        falcon_request.reads(req, consumer)
        follower, reader = consumer.follow(0, _stays), falcon_request.reader_of(req)
        note_transport(follower, 'post')
        pace.reads(follower, reader)
        resp.stream = _own_response(reader, follower, pace)

    def _headers(self, req: falcon.asgi.Request) -> Headers:
        # Latin-1 makes one character of each byte, so the values stay as they are.
        raw: list[tuple[bytes, bytes]] = req.scope['headers']
        headers = [
            (n.decode('latin-1').lower(), v.decode('latin-1'))
            for n, v in self._keys.without_keys(raw)
        ]
        # ``end_to_end`` is called before ``forwarded``. Otherwise a client could remove
        # what ``forwarded`` adds, by ``Connection: X-Forwarded-For``.
        return [(n, v) for n, v in end_to_end(headers) if n not in OWN_HEADERS]

    def _policy(self, req: falcon.asgi.Request) -> OnDisconnect:
        text = req.get_header('Stream-On-Disconnect')
        if text is None:
            return self._on_disconnect
        try:
            return parse_on_disconnect(text)
        except ValueError as ex:
            raise Problem(400, f'Stream-On-Disconnect {ex}') from None


def _own_response(reader: Reader, follower: Follower, pace: Pace) -> StreamedResponse:
    """Return the body of the response to a POST.

    Args:
        reader: the response under way.
        follower: reads the stream that is sent.
        pace: is told what the client takes.
    """

    def sending() -> Awaitable[None]:
        return send_live(reader, follower, pace.took)

    def close() -> None:
        pace.left()
        follower.close()

    return StreamedResponse(sending, close)


async def settled_rest(
    streams: Deployment, core: Core, asked: Request, conv_id: str
) -> Reply | None:
    """Return the reply with the rest of a stream; None if there is no such stream."""
    reply = rest_of(streams, core, asked, conv_id)
    if reply is not None and not isinstance(reply, Reply):
        reply = await settled(reply)
        if reply.status == HTTPStatus.NOT_FOUND:
            # It was pending, and has been withdrawn or stopped before it began.
            return None
    return reply


def _joins(req: falcon.asgi.Request) -> bool:
    """Whether the request is for a run that another request has begun.

    So asks a page of TanStack AI that was reloaded. The id of the run is a parameter of
    the query, which has to be among the places of ids.
    """
    return parameter(req.scope.get('query_string', b''), b'offset') == b'-1'


def _stays() -> bool:
    """Return that a response goes on to its end even if the worker leaves.

    Its client may not know how to resume.
    """
    return False


def _target(req: falcon.asgi.Request) -> str:
    return (falcon_request.raw_path(req) + query_of(req.scope)).decode('latin-1')
