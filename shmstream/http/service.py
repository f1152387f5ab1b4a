"""The service: the serving core answers for streams, Falcon for everything else.

Most requests are for streams, and they bypass Falcon, because its request, routing,
middleware and response would be most of the cost of a small answer
(``python -m bench replay``). Both sides use the same ``ApiKeys`` and ``Origins`` to
decide who owns a request and which origins may see the reply.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection
from typing import Any

import falcon.asgi

from shmstream.asgi.answering import Answering
from shmstream.asgi.application import request_of
from shmstream.asgi.other_servers import Handler, Listen, exchange
from shmstream.asgi.stalled import Reader, Readers
from shmstream.asgi.targets import in_origin_form
from shmstream.asgi.writer import write
from shmstream.http.api_keys import ApiKeys
from shmstream.http.falcon_request import (
    EVENTS_PATH,
    READER,
    STREAM_PATH,
    FalconRequest,
)
from shmstream.http.gate import TELLING, Gate
from shmstream.http.origins import Origins
from shmstream.http.prefix import FORWARDED_PREFIX, Prefix
from shmstream.http.spans import resumes, resuming
from shmstream.http.websockets import WebSockets, refuse
from shmstream.metrics.counts import Counts
from shmstream.serving.chat_routes import find_chat_route
from shmstream.serving.get_head_delete import Core, suited
from shmstream.serving.permit import Verdict
from shmstream.serving.problems import Problem, count_refusal
from shmstream.serving.request import Request

_EVENTS_METHODS = ('GET', 'HEAD', 'OPTIONS')
"""Everything else that is sent to the address of events is the upstream's."""

_LOOKED_AT = TELLING | {FORWARDED_PREFIX}
"""The headers that decide what ``gate`` and ``prefix`` do with a request, if no host
names are set."""


class Service:
    """An ASGI application.

    Attributes:
        falcon: the Falcon application; you may add routes of your own to it.

    Args:
        core: answers requests for streams.
        keys: decide who owns a request.
        origins: decide which pages may use the service.
        readers: watches the responses under way.
        listen: is called with a function that can be awaited until the server stops.
        gate: refuses requests before anything else looks at them.
        app: the Falcon application that answers everything else.
        web_sockets: relays WebSockets.
        chat: the paths of ``useChat``.
        counts: returns what this process counts in.
    """

    def __init__(
        self,
        core: Core,
        keys: ApiKeys,
        origins: Origins,
        readers: Readers,
        listen: Listen,
        gate: Gate,
        app: falcon.asgi.App[FalconRequest, falcon.asgi.Response],
        web_sockets: WebSockets,
        chat: Collection[str] = (),
        counts: Callable[[], Counts] = Counts,
    ) -> None:
        self._counts = counts
        self._keys = keys
        self._origins = origins
        more = origins.headers if origins.some else None
        # Nothing is asked of a request if everybody may do everything.
        permit = self._permit if keys.restricted or origins.some else None
        self._answering = Answering(core, permit, more)
        self._readers = readers
        self._listen = listen
        self._gate = gate
        self._prefix = Prefix()
        self._may_be_plain = not (self._prefix.own or gate.names_hosts)
        self._web_sockets = web_sockets
        self._chat = chat
        self.falcon = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Answer the request."""
        if scope['type'] == 'http':
            answer: Handler = self._answer_let_in
            if not self._is_plain(scope):
                scope = self._prefix.cut(in_origin_form(scope))
                answer = self._answer
            await exchange(answer, self._readers, scope, receive, send, self._listen)
        elif scope['type'] == 'websocket':
            scope = in_origin_form(scope)
            refusal = self._gate.refusal(scope)
            if refusal is None:
                await self._web_sockets(self._prefix.cut(scope), receive, send)
            else:
                count_refusal(self._counts(), refusal)
                await receive()
                await refuse(refusal, scope, send)
        else:
            await self.falcon(scope, receive, send)

    def _is_plain(self, scope: Any) -> bool:
        """Whether ``prefix``, ``targets`` and ``gate`` would find nothing to do.

        So it is with most requests, and to ask each of them would cost more.
        """
        return (
            self._may_be_plain
            and not scope.get('root_path')
            and (scope.get('raw_path') or b'')[:1] == b'/'
            and _LOOKED_AT.isdisjoint(dict(scope['headers']))
        )

    def _answer(self, scope: Any, receive: Any, reader: Reader) -> Awaitable[None]:
        refusal = self._gate.refusal(scope)
        if refusal is not None:
            return self._refuse(refusal, scope, reader)
        return self._answer_let_in(scope, receive, reader)

    def _answer_let_in(
        self, scope: Any, receive: Any, reader: Reader
    ) -> Awaitable[None]:
        request = request_of(scope, STREAM_PATH)
        if request is not None:
            return self._answer_core(request, reader)
        request = request_of(scope, EVENTS_PATH)
        if request is not None and request.method in _EVENTS_METHODS:
            request.events = True
            return self._answer_core(request, reader)
        for path in self._chat:
            request = request_of(scope, path)
            if request and find_chat_route(request) and request.method != 'POST':
                return self._answering.answer(request, reader)
        scope[READER] = reader
        return self.falcon(scope, receive, reader.send)

    def _answer_core(self, request: Request, reader: Reader) -> Awaitable[None]:
        answering = self._answering.answer(request, reader)
        if resumes(request):
            return resuming(answering, request, reader)
        return answering

    def _refuse(self, why: Problem, scope: Any, reader: Reader) -> Awaitable[None]:
        count_refusal(self._counts(), why)
        asked = Request(scope['method'], b'', headers=scope['headers'])
        more = self._origins.headers(asked)
        return write(suited(asked, why.reply()), reader, more)

    def _permit(self, request: Request) -> Verdict:
        if request.method == 'OPTIONS':
            # A preflight request has no key.
            preflight = self._origins.preflight(request)
            if preflight is not None:
                return preflight
        try:
            return self._keys.verdict(request)
        except Problem as ex:
            count_refusal(self._counts(), ex)
            raise
