"""Resumable answers in a Flask application.

Example::

    answers = shmstream.flask.Answers('/chat')
    app.register_blueprint(answers.blueprint)

    @app.post('/chat/<chat_id>')
    def ask(chat_id):
        return answers.start(chat_id, model(request.json['text']))  # a generator
"""

from __future__ import annotations

import weakref
from collections.abc import Callable
from contextvars import Context, copy_context
from typing import Any
from urllib.parse import urlsplit

from flask import Blueprint, current_app, request, url_for
from flask import Request as Asked
from flask.blueprints import BlueprintSetupState
from flask.sansio.app import App
from flask.wrappers import Response
from werkzeug.datastructures import Headers
from werkzeug.routing import BuildError

from shmstream import browser
from shmstream.answers.beginning import Beginning
from shmstream.answers.routed import of_environ
from shmstream.answers.wsgi import WsgiAnswers
from shmstream.producing.formats import Format
from shmstream.producing.sources import Source
from shmstream.serving.chat_routes import MAX_STOP_BYTES
from shmstream.serving.lookup import MAX_BYTES
from shmstream.serving.permit import Verdict
from shmstream.serving.reply import Reply
from shmstream.streams import Streams
from shmstream.wsgi.application import read_body

__all__ = ['Answers']

Permit = Callable[[Asked], Verdict]


class Answers:
    """Answers that outlive their requests, and the routes by which clients reach them.

    ::

        GET, HEAD, DELETE   {prefix}/{id}          read, look at, stop an answer
        GET, HEAD, DELETE   {prefix}/?conv_id=ID   the same, for ids with a slash
        GET, HEAD           {prefix}/{id}/stream   resume a chat of the AI SDK's useChat
        POST                {prefix}/{id}/stop     stop it
        POST                {prefix}/lookup        which of these ids have an answer
        GET, HEAD           {prefix}/shmstream.js  the module by which pages read them

    All other methods and paths below the prefix are the application's.

    A reader takes a thread until its answer ends or its client leaves, and so does the
    POST that begins an answer and sends it. Under gunicorn's ``gthread`` only a share
    of a worker's threads may be readers (``$SHMSTREAM_READER_SHARE``, 0.75 by default);
    one more gets 503 with ``Retry-After``. Under ``gevent`` a reader is a greenlet, and
    there is no bound.

    Args:
        prefix: the path of the answers, such as ``/chat``.
        permit: takes the request (flask's), and returns who is asking: an owner
            (``shmstream.owner_of(user)``), or a refusal
            (``shmstream.serving.refusal``). It may ``abort``. Without it everybody may
            read and stop every answer whose id they know.
        streams: the deployment; by default that of the environment
            (``Streams.attach()``).
        lookup: the path of look-ups below the prefix; None for no such route.
        timeout_s: seconds for which a client may read nothing, and for which it may go
            on reading an answer that is gone; by default ``$SHMSTREAM_SEND_TIMEOUT``.
        readers: readers of a process, at most; by default a share of its threads, if
            their number is known.

    Attributes:
        streams: the deployment.
        blueprint: for ``app.register_blueprint``.

    Raises:
        LocalError: ``readers`` is below 1.
        SettingsError: a setting of the environment cannot be used.
    """

    def __init__(
        self,
        prefix: str = '',
        permit: Permit | None = None,
        *,
        streams: Streams | None = None,
        lookup: str | None = '/lookup',
        timeout_s: float | None = None,
        readers: int | None = None,
    ) -> None:
        self._answers = WsgiAnswers(streams, permit, timeout_s, readers)
        self.streams = self._answers.streams
        self._endpoints: weakref.WeakKeyDictionary[App, str] = (
            weakref.WeakKeyDictionary()
        )
        # An application may have several, each with a prefix of its own.
        # Its name may hold whatever a prefix holds, but no dot.
        name = 'answers' + prefix.replace('%', '%25').replace('.', '%2E')
        self.blueprint = Blueprint(name, __name__, url_prefix=prefix or None)
        self.blueprint.record(self._registered)
        for path in ('/', '/<conv_id>'):
            self.blueprint.add_url_rule(
                path, 'read', self._read_or_stop, methods=['GET', 'HEAD', 'DELETE']
            )
        self.blueprint.add_url_rule(f'/{browser.MODULE}', 'module', self._module)
        # ``useChat`` has its ids in the path, also those with a slash.
        self.blueprint.add_url_rule(
            '/<path:conv_id>/stream', 'resume', self._resume, methods=['GET', 'HEAD']
        )
        self.blueprint.add_url_rule(
            '/<path:conv_id>/stop', 'stop', self._stop_chat, methods=['POST']
        )
        if lookup is not None:
            self.blueprint.add_url_rule(
                lookup, 'look_up', self._look_up, methods=['POST']
            )

    def _registered(self, state: BlueprintSetupState) -> None:
        """Remember what the application calls the route of streams."""
        names = (state.name_prefix, state.name, 'read')
        self._endpoints[state.app] = '.'.join(name for name in names if name)

    def start(
        self,
        conv_id: str,
        source: Source,
        *,
        format: str | Format = 'sse',
        capacity: int | None = None,
    ) -> Response:
        """Begin an answer, and return the response that sends it. Blocks.

        Call it in a request. The answer is written to its end, whoever leaves; a reload
        of the workers waits for it, and so does this response. You may set headers and
        cookies of the response. If the client may not begin an answer, or all places of
        readers are taken, the response says so, and the source is closed.

        Args:
            conv_id: the id by which clients find the answer: 1 to 512 bytes of UTF-8
                without control characters. An older answer with this id is replaced.
            source: as for ``Streams.start_in_thread``; a generator, as a rule. It runs
                in a thread of its own, which has the caller's context variables, but
                neither ``request`` nor ``current_app`` and ``g``: the answer outlives
                the request. A source that needs the application enters
                ``app.app_context()`` itself.
            format: as for ``Streams.start_in_thread``.
            capacity: bytes of the ring; by default the deployment's setting.

        Raises:
            LocalError: the source or the format is none.
            Exception: whatever ``permit`` raises; the source is closed.
        """
        beginning = Beginning(conv_id, source, format, capacity)
        asked = _asked()
        reply = self._answers.begin(
            beginning,
            of_environ(asked.environ),
            asked,
            self._mount(asked),
            _without_request(),
        )
        return self._response(reply, asked)

    def _mount(self, asked: Asked) -> str | None:
        """Return the path that streams have for the client of a request."""
        endpoint = self._endpoints.get(current_app._get_current_object())  # type: ignore[attr-defined]
        if endpoint is None:
            return None
        try:
            found = url_for(endpoint, **(asked.view_args or {}) | {'conv_id': '-'})
        except BuildError:
            # The prefix has parameters that this request does not have.
            return None
        return urlsplit(found).path.removesuffix('/-')

    def _read_or_stop(self, conv_id: str = '', **_: Any) -> Response:
        """Read an answer from a byte offset, or stop it."""
        asked = _asked()
        request = of_environ(asked.environ, conv_id)
        return self._response(self._answers.read_or_stop(request, asked), asked)

    def _module(self, **_: Any) -> Response:
        """Return the module by which pages read answers; ``permit`` is not asked."""
        data, content_type = browser.module(), browser.CONTENT_TYPE
        return Response(data, content_type=content_type, headers=browser.HEADERS)

    def _resume(self, conv_id: str, **_: Any) -> Response:
        """Read an answer that goes on, from its beginning; 204 if there is none."""
        asked = _asked()
        request = of_environ(asked.environ, conv_id, '/stream')
        return self._response(self._answers.read_or_stop(request, asked), asked)

    def _stop_chat(self, conv_id: str, **_: Any) -> Response:
        """Stop an answer, whoever writes it, and keep it."""
        asked = _asked()
        request = of_environ(asked.environ, conv_id, '/stop')

        def body() -> bytes:
            # A function of the application may have read it before.
            kept: bytes | None = getattr(asked, '_cached_data', None)
            return read_body(asked.environ, MAX_STOP_BYTES) if kept is None else kept

        return self._response(self._answers.stop_chat(body, request, asked), asked)

    def _look_up(self, **_: Any) -> Response:
        """Say which of these conversations have an answer, and how far it is."""
        asked = _asked()
        body = asked.stream.read(MAX_BYTES + 1)
        request = of_environ(asked.environ)
        return self._response(self._answers.look_up(body, request, asked), asked)

    def _response(self, reply: Reply, asked: Asked) -> Response:
        return _Sent(
            self._answers.body(reply, asked.environ),
            reply.status,
            Headers([(n.decode(), v.decode('latin-1')) for n, v in reply.headers]),
            direct_passthrough=not isinstance(reply.body, bytes),
        )


class _Sent(Response):
    """A response with the headers of its reply, and no others."""

    automatically_set_content_length = False
    default_mimetype = None


def _asked() -> Asked:
    """Return this request itself, and not what stands for it in its context only."""
    found: Asked = request._get_current_object()  # type: ignore[attr-defined]
    return found


def _without_request() -> Context:
    """Return a copy of the caller's context in which flask knows of no request.

    Flask keeps its request in context variables. A production that has copied them
    would hold the request, its body and its ``g`` until its end.
    """
    context = Context()
    for variable, value in copy_context().items():
        if not any(each.__module__ == 'flask.ctx' for each in type(value).__mro__):
            context.run(variable.set, value)
    return context
