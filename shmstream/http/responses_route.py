"""OpenAI's Responses by their ids, as a Falcon sink; all else goes to the gateway."""

from __future__ import annotations

import asyncio
import re
from typing import Any

import falcon.asgi

from shmstream.http import falcon_request
from shmstream.http.producing import Gateway
from shmstream.http.replies import send
from shmstream.serving.reply import Later, Reply
from shmstream.serving.responses import Responses

PATHS = re.compile(r'/(?:.*/)?responses/(?P<response_id>[^/]+)(?P<cancel>/cancel)?\Z')
"""The paths of a response. Upstreams have them below ``/v1``, or below other paths."""


class ResponsesSink:
    """Answers for the responses that are streams here.

    Args:
        responses: decides what to answer.
        gateway: answers everything else.
    """

    def __init__(self, responses: Responses, gateway: Gateway) -> None:
        self._responses = responses
        self._gateway = gateway

    async def __call__(
        self,
        req: falcon.asgi.Request,
        resp: falcon.asgi.Response | None,
        ws: object = None,
        **path: Any,
    ) -> None:
        """Answer the request; see ``serving.responses``."""
        method, answer = 'GET', self._responses.retrieve
        if path.get('cancel'):
            method, answer = 'POST', self._responses.cancel
        reply: Reply | Later | None = None
        if resp is not None and req.method == method:
            response_id: str = path['response_id']
            reply = await asyncio.to_thread(
                answer, falcon_request.asked_of_core(req), response_id
            )
        if resp is None or reply is None:
            await self._gateway(req, resp, ws)
            return
        await send(reply, req, resp)
