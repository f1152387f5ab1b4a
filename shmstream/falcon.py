"""Resumable answers in a Falcon application, under ASGI and under WSGI.

Example::

    class Chat(shmstream.falcon.Answers):
        async def on_post(self, req, resp, conv_id):
            text = (await req.get_media())['text']
            await self.start(req, resp, conv_id, model(text))  # an async generator

    chat = Chat()
    app = falcon.asgi.App(middleware=[chat])
    app.add_route('/chat/{conv_id}', chat)
    app.add_route('/chat/lookup', chat, suffix='lookup')

``WsgiAnswers`` is the same for ``falcon.App``, with plain methods.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Awaitable, Callable
from typing import Any

import falcon
import falcon.asgi

from shmstream.answers.asgi import AsgiAnswers
from shmstream.answers.beginning import Beginning
from shmstream.answers.falcon_request import body_of, mount_of
from shmstream.answers.falcon_response import nothing, put, put_head
from shmstream.answers.routed import of_environ, of_scope
from shmstream.answers.wsgi import WsgiAnswers as _WsgiAnswers
from shmstream.producing.formats import Format
from shmstream.producing.sources import Source
from shmstream.serving.chat_routes import MAX_STOP_BYTES
from shmstream.serving.lookup import MAX_BYTES
from shmstream.serving.permit import Verdict
from shmstream.serving.reply import Reply
from shmstream.streams import Streams
from shmstream.wsgi.application import read_body

__all__ = ['Answers', 'WsgiAnswers']

AsgiPermit = Callable[[falcon.asgi.Request], Verdict | Awaitable[Verdict]]
WsgiPermit = Callable[[falcon.Request], Verdict]


class Answers:
    """A resource of answers that outlive their requests, for ``falcon.asgi.App``.

    ::

        route             suffix    methods that it has
        /chat/{conv_id}             GET, HEAD, DELETE: read, look at, stop an answer;
                                    /chat/?conv_id=ID is the same, for ids with a slash
        /chat/lookup      lookup    POST: which of these ids have an answer
        /chat/{conv_id}/stream
                          stream    GET, HEAD: resume a chat of the AI SDK's ``useChat``
        /chat/{conv_id}/stop
                          stop      POST: stop it

    ``on_post`` is yours. As a middleware of the application it lets answers run to
    their end when the process is told to stop; under gunicorn the hooks do so without.
    Under hypercorn readers are let go at a stop only if the application is wrapped:
    ``app = shmstream.asgi.Drained(app)``.

    Args:
        permit: takes the request (Falcon's), and returns who is asking: an owner
            (``shmstream.owner_of(user)``), or a refusal
            (``shmstream.serving.refusal``). It may be a coroutine function, and may
            raise ``falcon.HTTPError``. Without it everybody may read and stop every
            answer whose id they know.
        prefix: the path of the answers, such as ``/chat``; needed if ``start`` is
            called for a path that does not end with ``/{conv_id}``.
        streams: the deployment; by default that of the environment
            (``Streams.attach()``).
        timeout_s: seconds for which a client may read nothing, and for which it may go
            on reading an answer that is gone; by default ``$SHMSTREAM_SEND_TIMEOUT``.

    Attributes:
        streams: the deployment.

    Raises:
        SettingsError: a setting of the environment cannot be used.
    """

    def __init__(
        self,
        permit: AsgiPermit | None = None,
        *,
        prefix: str | None = None,
        streams: Streams | None = None,
        timeout_s: float | None = None,
    ) -> None:
        self._answers = AsgiAnswers(streams, permit, timeout_s)
        self._prefix = prefix
        self._lifespan = contextlib.AsyncExitStack()
        self.streams = self._answers.streams

    async def start(
        self,
        req: falcon.asgi.Request,
        resp: falcon.asgi.Response,
        conv_id: str,
        source: Source,
        *,
        format: str | Format = 'sse',
        capacity: int | None = None,
    ) -> None:
        """Begin an answer, and make it the response.

        The answer is written to its end, whoever leaves; a reload of the workers waits
        for it. If the client may not begin an answer, the response says so, and the
        source is closed.

        Args:
            req: the request.
            resp: its response. You may set headers and cookies of it.
            conv_id: the id by which clients find the answer: 1 to 512 bytes of UTF-8
                without control characters. An older answer with this id is replaced.
            source: as for ``Streams.start``; an async generator, as a rule.
            format: as for ``Streams.start``.
            capacity: bytes of the ring; by default the deployment's setting.

        Raises:
            LocalError: the source or the format is none.
            Exception: whatever ``permit`` raises; the source is closed.
        """
        beginning = Beginning(conv_id, source, format, capacity)
        mount = mount_of(req, self._prefix)
        reply = await self._answers.begin(beginning, of_scope(req.scope), req, mount)
        self._put(reply, req, resp)

    async def on_get(
        self,
        req: falcon.asgi.Request,
        resp: falcon.asgi.Response,
        conv_id: str = '',
        **_: Any,
    ) -> None:
        """Read an answer from a byte offset (``from``), and follow it to its end."""
        request = of_scope(req.scope, conv_id)
        self._put(await self._answers.reply(request, req), req, resp)

    on_head = on_delete = on_get

    async def on_get_stream(
        self,
        req: falcon.asgi.Request,
        resp: falcon.asgi.Response,
        conv_id: str,
        **_: Any,
    ) -> None:
        """Read an answer that goes on, from its beginning; 204 if there is none."""
        request = of_scope(req.scope, conv_id, '/stream')
        self._put(await self._answers.reply(request, req), req, resp)

    on_head_stream = on_get_stream

    async def on_post_stop(
        self,
        req: falcon.asgi.Request,
        resp: falcon.asgi.Response,
        conv_id: str,
        **_: Any,
    ) -> None:
        """Stop an answer, whoever writes it, and keep it."""
        body = functools.partial(body_of, req, MAX_STOP_BYTES)
        request = of_scope(req.scope, conv_id, '/stop')
        self._put(await self._answers.stop_chat(body, request, req), req, resp)

    async def on_post_lookup(
        self, req: falcon.asgi.Request, resp: falcon.asgi.Response, **_: Any
    ) -> None:
        """Say which of these conversations have an answer, and how far it is."""

        async def body() -> bytes:
            found: bytes = await req.stream.read(MAX_BYTES + 1)
            return found

        reply = await self._answers.look_up(body, of_scope(req.scope), req)
        self._put(reply, req, resp)

    def _put(
        self, reply: Reply, req: falcon.asgi.Request, resp: falcon.asgi.Response
    ) -> None:
        if isinstance(reply.body, bytes):
            put(reply, reply.body, req, resp, nothing())
            return
        # Falcon gives a responder no ``send``, and its request keeps ``receive``.
        receive = getattr(req, '_receive', None)
        # Falcon's test client says that it has left before it reads the response.
        module = str(getattr(receive, '__module__', ''))
        watched = receive is not None and not module.startswith('falcon.testing')
        resp.stream = self._answers.iterated(reply, receive, watched)
        put_head(reply, resp)

    async def process_startup(self, _scope: Any, _event: Any) -> None:
        """Find the supervisor, and hear the signals that tell the process to stop."""
        await self._lifespan.enter_async_context(self._answers.lifespan(None))

    async def process_shutdown(self, _scope: Any, _event: Any) -> None:
        """Wait until the answers that this process writes have come to their end."""
        await self._lifespan.aclose()


class WsgiAnswers:
    """As ``Answers``, for ``falcon.App``; its methods block.

    A reader takes a thread until its answer ends or its client leaves, and so does the
    POST that begins an answer and sends it. Under gunicorn's ``gthread`` only a share
    of a worker's threads may be readers (``$SHMSTREAM_READER_SHARE``, 0.75 by default);
    one more gets 503 with ``Retry-After``. Under ``gevent`` a reader is a greenlet, and
    there is no bound.

    Args:
        permit: as for ``Answers``, but a plain function.
        prefix: as for ``Answers``.
        streams: as for ``Answers``.
        timeout_s: as for ``Answers``.
        readers: readers of a process, at most; by default a share of its threads, if
            their number is known.

    Raises:
        LocalError: ``readers`` is below 1.
        SettingsError: a setting of the environment cannot be used.
    """

    def __init__(
        self,
        permit: WsgiPermit | None = None,
        *,
        prefix: str | None = None,
        streams: Streams | None = None,
        timeout_s: float | None = None,
        readers: int | None = None,
    ) -> None:
        self._answers = _WsgiAnswers(streams, permit, timeout_s, readers)
        self._prefix = prefix
        self.streams = self._answers.streams

    def start(
        self,
        req: falcon.Request,
        resp: falcon.Response,
        conv_id: str,
        source: Source,
        *,
        format: str | Format = 'sse',
        capacity: int | None = None,
    ) -> None:
        """Begin an answer, and make it the response. As ``Answers.start``, but blocks.

        If all places of readers are taken, the response is 503, and the source is
        closed.
        """
        beginning = Beginning(conv_id, source, format, capacity)
        mount = mount_of(req, self._prefix)
        request = of_environ(req.env)
        self._put(self._answers.begin(beginning, request, req, mount), req, resp)

    def on_get(
        self, req: falcon.Request, resp: falcon.Response, conv_id: str = '', **_: Any
    ) -> None:
        """Read an answer from a byte offset (``from``), and follow it to its end."""
        request = of_environ(req.env, conv_id)
        self._put(self._answers.read_or_stop(request, req), req, resp)

    on_head = on_delete = on_get

    def on_get_stream(
        self, req: falcon.Request, resp: falcon.Response, conv_id: str, **_: Any
    ) -> None:
        """Read an answer that goes on, from its beginning; 204 if there is none."""
        request = of_environ(req.env, conv_id, '/stream')
        self._put(self._answers.read_or_stop(request, req), req, resp)

    on_head_stream = on_get_stream

    def on_post_stop(
        self, req: falcon.Request, resp: falcon.Response, conv_id: str, **_: Any
    ) -> None:
        """Stop an answer, whoever writes it, and keep it."""
        body = functools.partial(read_body, req.env, MAX_STOP_BYTES)
        request = of_environ(req.env, conv_id, '/stop')
        self._put(self._answers.stop_chat(body, request, req), req, resp)

    def on_post_lookup(
        self, req: falcon.Request, resp: falcon.Response, **_: Any
    ) -> None:
        """Say which of these conversations have an answer, and how far it is."""
        body = req.bounded_stream.read(MAX_BYTES + 1)
        reply = self._answers.look_up(body, of_environ(req.env), req)
        self._put(reply, req, resp)

    def _put(self, reply: Reply, req: falcon.Request, resp: falcon.Response) -> None:
        if isinstance(reply.body, bytes):
            put(reply, reply.body, req, resp, iter(()))
            return
        resp.stream = self._answers.body(reply, req.env)
        put_head(reply, resp)
