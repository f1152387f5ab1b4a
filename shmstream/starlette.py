"""Resumable answers in a Starlette application.

Example::

    answers = shmstream.starlette.Answers('/chat')

    async def ask(request):
        question = await request.json()
        return answers.start(request.path_params['chat'], model(question['text']))

    app = Starlette(
        routes=[*answers.routes, Route('/chat/{chat}', ask, methods=['POST'])],
        lifespan=answers.lifespan,
    )
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Awaitable, Callable, Iterator
from typing import Any
from urllib.parse import quote

from starlette.requests import Request as Asked
from starlette.responses import Response
from starlette.routing import Mount, NoMatchFound, Route

from shmstream import browser
from shmstream.answers.asgi import AsgiAnswers
from shmstream.answers.beginning import Beginning
from shmstream.answers.routed import of_scope
from shmstream.producing.formats import Format
from shmstream.producing.sources import Source
from shmstream.serving.chat_routes import MAX_STOP_BYTES
from shmstream.serving.lookup import MAX_BYTES
from shmstream.serving.permit import Verdict
from shmstream.serving.reply import Reply
from shmstream.streams import Streams

__all__ = ['Answers']

Permit = Callable[[Asked], Verdict | Awaitable[Verdict]]
Endpoint = Callable[[Asked], Awaitable[Response]]

_numbers = itertools.count(1)


class Answers:
    """Answers that outlive their requests, and the routes by which clients reach them.

    ::

        GET, HEAD, DELETE   {prefix}/{id}          read, look at, stop an answer
        GET, HEAD, DELETE   {prefix}/?conv_id=ID   the same, for ids with a slash
        GET, HEAD           {prefix}/{id}/stream   resume a chat of the AI SDK's useChat
        POST                {prefix}/{id}/stop     stop it
        POST                {prefix}/lookup        which of these ids have an answer
        GET, HEAD           {prefix}/shmstream.js  the module by which pages read them

    Put your ``POST {prefix}/{id}`` after these routes: before them, it would take the
    POSTs to ``{prefix}/lookup``.

    Args:
        prefix: the path of the answers, such as ``/chat``.
        permit: takes the request (starlette's), and returns who is asking: an owner
            (``shmstream.owner_of(user)``), or a refusal
            (``shmstream.serving.refusal``). It may be a coroutine function, and may
            raise ``HTTPException``. Without it everybody may read and stop every
            answer whose id they know.
        streams: the deployment; by default that of the environment
            (``Streams.attach()``).
        lookup: the path of look-ups below the prefix; None for no such route.
        timeout_s: seconds for which a client may read nothing, and for which it may go
            on reading an answer that is gone; by default ``$SHMSTREAM_SEND_TIMEOUT``.

    Attributes:
        streams: the deployment.
        routes: for ``Starlette(routes=...)``.
        lifespan: for ``Starlette(lifespan=...)``: answers go on when the process
            is told to stop, for ``$SHMSTREAM_DRAIN`` seconds and 8 at the most. Under
            gunicorn the hooks do so without it, and for longer at a reload.

    Raises:
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
    ) -> None:
        self._answers = AsgiAnswers(streams, permit, timeout_s)
        # No other route may have this name: the address of a stream is found by it.
        self._name = f'read_answer_{next(_numbers)}'
        self._prefix, self._lookup = prefix, lookup
        self._found: dict[tuple[str, ...], tuple[str, tuple[str, ...]]] = {}
        self.streams = self._answers.streams
        self.lifespan = self._answers.lifespan
        self.routes = [
            Route(prefix + path, endpoint, methods=methods, name=name)
            for path, endpoint, methods, name in self._endpoints()
        ]

    def _endpoints(self) -> list[tuple[str, Endpoint, list[str], str]]:
        """Return paths below the prefix, endpoints, methods, and names of routes."""
        reads = ['GET', 'HEAD']
        found: list[tuple[str, Endpoint, list[str], str]] = [
            (f'/{browser.MODULE}', self._module, reads, 'shmstream_js'),
            ('/', self._read, reads, 'read_answer_by_query'),
            ('/', self._stop, ['DELETE'], 'stop_answer_by_query'),
            ('/{conv_id}', self._read, reads, self._name),
            ('/{conv_id}', self._stop, ['DELETE'], 'stop_answer'),
            # ``useChat`` has its ids in the path, also those with a slash.
            ('/{conv_id:path}/stream', self._resume, reads, 'resume_chat'),
            ('/{conv_id:path}/stop', self._stop_chat, ['POST'], 'stop_chat'),
        ]
        if self._lookup is not None:
            found.insert(0, (self._lookup, self._look_up, ['POST'], 'look_up_answers'))
        return found

    def start(
        self,
        conv_id: str,
        source: Source,
        *,
        format: str | Format = 'sse',
        capacity: int | None = None,
    ) -> Response:
        """Return the response that begins an answer, and sends it.

        The answer is written to its end, whoever leaves; a reload of the workers waits
        for it. ``permit`` is asked, and the source begins, when the response is sent,
        after the handler has returned: what the handler itself does, it does for a
        client that is refused, too. The response's background tasks run only if the
        answer has begun. You may set headers and cookies of the response.

        Args:
            conv_id: the id by which clients find the answer: 1 to 512 bytes of UTF-8
                without control characters. An older answer with this id is replaced.
            source: as for ``Streams.start``; an async generator, as a rule.
            format: as for ``Streams.start``.
            capacity: bytes of the ring; by default the deployment's setting.

        Raises:
            LocalError: the source or the format is none.
        """
        beginning = Beginning(conv_id, source, format, capacity)

        async def send_it(
            scope: Any, receive: Any, send: Any, headers: list[tuple[bytes, bytes]]
        ) -> bool:
            asked = Asked(scope, receive)
            mount = self._mount(asked)
            request = of_scope(asked.scope)
            reply = await self._answers.begin(beginning, request, asked, mount)
            await self._answers.send(reply, scope, receive, send, headers)
            return reply.status < 400

        return _Sent(send_it)

    def _mount(self, asked: Asked) -> str | None:
        """Return the path that streams have for the client of a request.

        Returns:
            None if the application has not included the routes, or if their path has
            parameters that this request does not have.
        """
        known = {
            name: quote(value, safe='') if isinstance(value, str) else value
            for name, value in asked.path_params.items()
        }
        kind = tuple(known)
        for name, chosen in [
            *filter(None, [self._found.get(kind)]),
            *_ways(asked, self._name, kind),
        ]:
            params = {each: known[each] for each in chosen} | {'conv_id': '-'}
            try:
                found = asked.url_for(name, **params)
            except (NoMatchFound, AssertionError):
                continue
            self._found[kind] = name, chosen
            return found.path.removesuffix('/-')
        return None

    async def _read(self, request: Asked) -> Response:
        """Read an answer from a byte offset (`from`), and follow it to its end."""
        return self._read_or_stop(request)

    async def _stop(self, request: Asked) -> Response:
        """Stop an answer, whoever writes it, and remove it."""
        return self._read_or_stop(request)

    async def _module(self, _: Asked) -> Response:
        """Get the module by which pages read answers; `permit` is not asked."""
        data, media_type = browser.module(), browser.CONTENT_TYPE
        return Response(data, media_type=media_type, headers=browser.HEADERS)

    async def _resume(self, request: Asked) -> Response:
        """Read an answer that goes on, from its beginning; 204 if there is none."""
        return self._read_or_stop(request, '/stream')

    def _read_or_stop(self, asked: Asked, route: str = '') -> Response:
        request = of_scope(asked.scope, asked.path_params.get('conv_id', ''), route)

        async def send_it(
            scope: Any, receive: Any, send: Any, _: list[tuple[bytes, bytes]]
        ) -> bool:
            await self._answers.read_or_stop(request, asked, scope, receive, send)
            return True

        return _Sent(send_it)

    async def _stop_chat(self, request: Asked) -> Response:
        """Stop an answer, whoever writes it, and keep it."""
        asked = of_scope(request.scope, request.path_params['conv_id'], '/stop')
        body = functools.partial(_body, request, MAX_STOP_BYTES)
        return _whole(await self._answers.stop_chat(body, asked, request))

    async def _look_up(self, request: Asked) -> Response:
        """Say which of these conversations have an answer, and how far it is."""
        body = functools.partial(_body, request, MAX_BYTES)
        asked = of_scope(request.scope)
        return _whole(await self._answers.look_up(body, asked, request))


class _Sent(Response):
    """A response that sends itself.

    Args:
        send_it: takes ``scope``, ``receive``, ``send``, and the headers that have been
            set meanwhile. Returns whether the background tasks of the handler are to
            run: the handler has returned before anybody knew of a refusal.
    """

    def __init__(self, send_it: Callable[..., Awaitable[bool]]) -> None:
        super().__init__()
        self.raw_headers = []
        self._send_it = send_it

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        begun = await self._send_it(scope, receive, send, self.raw_headers)
        if begun and self.background is not None:
            await self.background()


def _ways(
    asked: Asked, name: str, params: tuple[str, ...]
) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Names that a route may have, and which of a request's parameters it may have.

    A router finds a route only if it is given exactly the route's parameters.
    """
    own = tuple(each for each in params if each != 'conv_id')
    for full in _names(asked.scope.get('router'), name):
        for count in range(len(own), -1, -1):
            for chosen in itertools.combinations(own, count):
                yield full, chosen


def _names(router: Any, name: str, depth: int = 3) -> Iterator[str]:
    """Yield the name itself, and its names within mounts that have a name."""
    yield name
    for route in getattr(router, 'routes', None) or ():
        if isinstance(route, Mount) and depth:
            before = f'{route.name}:' if route.name else ''
            for each in _names(route, name, depth - 1):
                if before or each != name:
                    yield before + each


async def _body(asked: Asked, most: int) -> bytes:
    """Return the body; if it has more than ``most`` bytes, some more than that."""
    # A client may send one byte per chunk, and bytes would be copied for each of them.
    found = bytearray()
    async for part in asked.stream():
        found += part
        if len(found) > most:
            break
    return bytes(found)


def _whole(reply: Reply) -> Response:
    """Return the response of a reply that is no stream."""
    assert isinstance(reply.body, bytes)
    response = Response(reply.body, reply.status)
    response.raw_headers = reply.headers
    return response
