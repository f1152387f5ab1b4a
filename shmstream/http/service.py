"""The service: the serving core answers for streams, Falcon for everything else.

Most requests are for streams, and they bypass Falcon, because its request, routing,
middleware and response would be most of the cost of a small answer
(``python -m bench replay``). Both sides use the same ``ApiKeys`` and ``Origins`` to
decide who owns a request and which origins may see the reply.
"""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Any

import falcon.asgi

from shmstream.asgi.answering import Answering
from shmstream.asgi.application import request_of
from shmstream.asgi.other_servers import Listen, exchange
from shmstream.asgi.stalled import Reader, Readers
from shmstream.http.api_keys import ApiKeys
from shmstream.http.falcon_request import READER, STREAM_PATH, FalconRequest
from shmstream.http.origins import Origins
from shmstream.serving.get_head_delete import Core
from shmstream.serving.permit import Verdict
from shmstream.serving.request import Request


class Service:
    """An ASGI application.

    Attributes:
        falcon: answers everything else; you may add routes of your own to it.

    Args:
        core: answers requests for streams.
        keys: decide who owns a request.
        origins: decide which pages may use the service.
        readers: watches the responses under way.
        listen: is called with a function to await until the server stops.
        app: the Falcon application that answers everything else.
    """

    def __init__(
        self,
        core: Core,
        keys: ApiKeys,
        origins: Origins,
        readers: Readers,
        listen: Listen,
        app: falcon.asgi.App[FalconRequest, falcon.asgi.Response],
    ) -> None:
        self._keys = keys
        self._origins = origins
        more = origins.headers if origins.named else None
        self._answering = Answering(core, self._permit, more)
        self._readers = readers
        self._listen = listen
        self.falcon = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Answer the request."""
        if scope['type'] == 'http':
            await exchange(
                self._answer, self._readers, scope, receive, send, self._listen
            )
        else:
            await self.falcon(scope, receive, send)

    def _answer(self, scope: Any, receive: Any, reader: Reader) -> Awaitable[None]:
        request = request_of(scope, STREAM_PATH)
        if request is not None:
            return self._answering.answer(request, reader)
        scope[READER] = reader
        return self.falcon(scope, receive, reader.send)

    def _permit(self, request: Request) -> Verdict:
        if request.method == 'OPTIONS':
            # A preflight request has no key.
            preflight = self._origins.preflight(request)
            if preflight is not None:
                return preflight
        return self._keys.verdict(request)
