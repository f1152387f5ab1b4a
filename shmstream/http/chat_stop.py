"""``POST {path}/{id}/stop`` for the paths of ``SHMSTREAM_CHAT``, as a Falcon sink.

The other route of ``useChat``, which reads a stream, is a GET, and bypasses Falcon as
all reads of streams do (``service.py``).
"""

from __future__ import annotations

import re
from typing import Any

import falcon.asgi

from shmstream.asgi.answering import settled
from shmstream.asgi.application import request_of
from shmstream.http.producing import Gateway
from shmstream.http.replies import put
from shmstream.http.uploads import Uploads
from shmstream.serving.chat_routes import MAX_STOP_BYTES, find_chat_route
from shmstream.serving.get_head_delete import Core


class ChatStop:
    """Stops the stream of a chat.

    Args:
        path: where ``useChat`` sends its questions to.
        core: decides what to answer.
        uploads: bounds the bodies that are held in memory.
        gateway: answers what is no POST: that is the upstream's.

    Attributes:
        pattern: the decoded paths that are to come here.
    """

    def __init__(
        self, path: str, core: Core, uploads: Uploads, gateway: Gateway
    ) -> None:
        self.pattern = re.compile(f'{re.escape(path)}/.+/stop$', re.DOTALL)
        self._path = path
        self._core = core
        self._uploads = uploads
        self._gateway = gateway

    async def __call__(
        self,
        req: falcon.asgi.Request,
        resp: falcon.asgi.Response | None,
        **more: Any,
    ) -> None:
        """Stop the stream; see ``serving.chat_routes``."""
        request = request_of(req.scope, self._path)
        if (
            resp is None
            or req.method != 'POST'
            or request is None
            or not find_chat_route(request)
        ):
            await self._gateway(req, resp, **more)
            return
        request.owner = req.context.owner
        body = (await self._uploads.read(req, MAX_STOP_BYTES)).whole()
        # ``Gate`` has looked at the page, and knows which origins are named.
        put(await settled(self._core.stop_chat(request, body, gated=True)), resp)
