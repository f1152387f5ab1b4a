"""Everything that is not ours goes upstream; what is streamed becomes a session."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, Self

import falcon
import falcon.asgi

from shmstream.asgi.writer import send_live
from shmstream.consumer import Consumer
from shmstream.follower import Follower
from shmstream.http import request
from shmstream.http.api_keys import ApiKeys
from shmstream.http.generation import Generation, Generations, Streamed
from shmstream.http.replies import add_headers
from shmstream.http.sent_body import SentBody
from shmstream.http.uploads import Uploads
from shmstream.ids import validate_id
from shmstream.serving.headers import described, location
from shmstream.serving.problems import Problem
from shmstream.settings import OnDisconnect, Settings, parse_on_disconnect
from shmstream.streams import Streams
from shmstream.upstream.source import (
    Answer,
    Headers,
    Source,
    UpstreamBroken,
    UpstreamRequest,
    UpstreamTimeout,
    UpstreamUnreachable,
)

MAX_BODY = 64 << 20
"""Of a POST that becomes a session: what the upstream has not taken is held."""

_OWN_HEADERS = {'x-conversation-id', 'stream-on-disconnect'}
"""Not sent upstream: a llama.cpp behind us would keep a session of its own, and go on
generating after we have hung up."""

_SET_BY_US = {'content-type', 'content-length', 'cache-control', 'x-accel-buffering'}


class UpstreamBody:
    """An upstream's answer as a response body, passed through as it comes."""

    def __init__(self, answer: Answer) -> None:
        self._answer = answer
        self._chunks = answer.chunks()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        try:
            return await self._chunks.__anext__()
        except UpstreamBroken as ex:
            # As in ``asgi.writer``: the client must not take it for a whole answer.
            raise asyncio.CancelledError from ex

    async def close(self) -> None:
        """Hang up on the upstream unless it has been read to its end."""
        self._answer.close()


class Nothing:
    """An empty body that Falcon does not measure."""

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        raise StopAsyncIteration


class Gateway:
    """A Falcon sink for all paths.

    Args:
        streams: the deployment.
        source: what answers.
        settings: for what happens to a stream that nobody listens to.
        generations: where the ones that begin here are kept.
        keys: for the tokens of the sessions that are made.
        uploads: bounds the bodies that are held.
    """

    def __init__(
        self,
        streams: Streams,
        source: Source,
        settings: Settings,
        generations: Generations,
        keys: ApiKeys,
        uploads: Uploads,
    ) -> None:
        self._keys = keys
        self._uploads = uploads
        self._streams = streams
        self._source = source
        self._on_disconnect = settings.on_disconnect
        self._stream_types = settings.stream_types
        self._generations = generations

    async def __call__(
        self,
        req: falcon.asgi.Request,
        resp: falcon.asgi.Response | None,
        ws: object = None,
        **_: Any,
    ) -> None:
        """Answer the request with the upstream's answer."""
        if resp is None:
            # A WebSocket (``ws``): Falcon refuses what has not been accepted.
            return
        conv_id = request.conversation_header(req) if req.method == 'POST' else None
        if conv_id is None:
            await self._pass_through(req, resp)
        else:
            validate_id(conv_id)
            await self._produce(req, resp, conv_id)

    async def _pass_through(
        self, req: falcon.asgi.Request, resp: falcon.asgi.Response
    ) -> None:
        asked = UpstreamRequest(
            req.method, _target(req), self._headers(req), _body(req)
        )
        try:
            answer = await self._source.send(asked)
        except UpstreamTimeout as ex:
            raise Problem(504, str(ex)) from ex
        except UpstreamUnreachable as ex:
            raise Problem(502, str(ex)) from ex
        _hand_on(req, resp, answer)

    async def _produce(
        self, req: falcon.asgi.Request, resp: falcon.asgi.Response, conv_id: str
    ) -> None:
        policy = self._policy(req)
        owner: bytes = req.context.owner
        # Uncompressed: an offset into gzip is of no use to anybody.
        headers = [h for h in self._headers(req) if h[0] != 'accept-encoding']
        body = await self._uploads.read(req, MAX_BODY)
        if not any(name == 'content-length' for name, _ in headers):
            # It came in chunks, and not every upstream takes those.
            headers.append(('content-length', str(body.size)))
        asked = UpstreamRequest(req.method, _target(req), headers, body)
        generation = self._generations.add(
            Generation(
                *(self._streams, self._source, conv_id, owner, asked, policy),
                stream_types=self._stream_types,
            )
        )
        answer = await generation.answer()
        if not isinstance(answer, Streamed):
            _hand_on(req, resp, answer)
            return
        consumer = Consumer(self._streams.attachment, answer.producer.segment)
        _copy_headers(
            resp, [h for h in answer.headers if h[0].lower() not in _SET_BY_US]
        )
        add_headers(described(consumer, 0, consumer.finished, consumer.state), resp)
        resp.set_header('Location', location(request.STREAM_PATH, conv_id))
        token = self._keys.token(owner, conv_id, consumer.generation)
        if token is not None:
            resp.set_header('Stream-Token', token)
        # It goes on to its end when the worker leaves: the client may be one that
        # knows nothing of resuming.
        request.reads(req, consumer)
        resp.stream = _own_response(req, consumer.follow(0), generation.heard)

    def _headers(self, req: falcon.asgi.Request) -> Headers:
        raw: list[tuple[bytes, bytes]] = req.scope['headers']
        headers = [(n.decode('latin-1').lower(), _text(v)) for n, v in raw]
        # Our own keys are not for the upstream to see.
        drop = _OWN_HEADERS | ({'authorization'} if self._keys.restricted else set())
        return [(n, v) for n, v in headers if n not in drop]

    def _policy(self, req: falcon.asgi.Request) -> OnDisconnect:
        text = req.get_header('Stream-On-Disconnect')
        if text is None:
            return self._on_disconnect
        try:
            return parse_on_disconnect(text)
        except ValueError as ex:
            raise Problem(400, f'Stream-On-Disconnect {ex}') from None


def _own_response(
    req: falcon.asgi.Request, follower: Follower, heard: Callable[[], None]
) -> SentBody:
    """Return the body of a POST's own response.

    Args:
        req: the POST.
        follower: what is sent.
        heard: called in the turn in which it begins to read, or will not any more.
    """

    def sending() -> Awaitable[None]:
        heard()
        return send_live(request.send_of(req), follower)

    def close() -> None:
        heard()
        follower.close()

    return SentBody(sending, close)


def _text(value: bytes) -> str:
    # The client encodes what we give it as UTF-8.
    try:
        return value.decode('utf-8')
    except UnicodeDecodeError:
        return value.decode('latin-1')


def _target(req: falcon.asgi.Request) -> str:
    query: bytes = req.scope.get('query_string', b'')
    target = request.raw_path(req) + (b'?' + query if query else b'')
    return target.decode('latin-1')


def _body(req: falcon.asgi.Request) -> AsyncIterator[bytes] | None:
    chunked = req.get_header('Transfer-Encoding') is not None
    if not req.content_length and not chunked:
        return None
    return _whole_body(req)


async def _whole_body(req: falcon.asgi.Request) -> AsyncIterator[bytes]:
    async for chunk in req.stream:
        yield chunk
    if getattr(req, 'gone', False):
        # The upstream must not take what it has for all there is.
        raise ConnectionResetError('the client left within its request')


def _hand_on(
    req: falcon.asgi.Request, resp: falcon.asgi.Response, answer: Answer
) -> None:
    resp.status = answer.status
    _copy_headers(resp, answer.headers)
    if req.method == 'HEAD' or answer.status in (204, 304):
        # Falcon does not touch the body of such an answer, nor closes it.
        answer.close()
        resp.stream = Nothing()
    else:
        resp.stream = UpstreamBody(answer)


def _copy_headers(resp: falcon.asgi.Response, headers: Headers) -> None:
    for name, value in headers:
        # Which other origins may use the service is ours to say, not the upstream's: a
        # llama.cpp behind us would let in every page that the user has open.
        if not name.lower().startswith('access-control-'):
            resp.append_header(name, value)
