"""The same as ``flask_app``, for Falcon under ASGI."""

from __future__ import annotations

import os
from pathlib import Path

import falcon
import falcon.asgi

from shmstream import owner_of
from shmstream.falcon import Answers
from tests.answers.watched import watch
from tests.producing.scripted import script

FOLDER = Path(os.environ.get('PRODUCING_FOLDER', '.'))


async def permit(asked: falcon.asgi.Request) -> bytes:
    """Who is asking is in a header; a stranger is refused."""
    user = asked.get_header('X-User') or 'somebody'
    if user == 'stranger':
        raise falcon.HTTPUnauthorized
    return owner_of(user)


class Chat(Answers):
    """POST begins an answer."""

    async def on_post(
        self, req: falcon.asgi.Request, resp: falcon.asgi.Response, conv_id: str
    ) -> None:
        chat = conv_id or req.get_param('conv_id', required=True)
        source = script(FOLDER, await req.get_media()).on_loop()
        await self.start(req, resp, chat, source)


class Title:
    """What the application has of its own."""

    async def on_get(
        self,
        _req: falcon.asgi.Request,
        resp: falcon.asgi.Response,
        conv_id: str = 'none',
    ) -> None:
        resp.text = f'{conv_id} by {os.getpid()}'


class Healthy:
    """The worker, as ``tests.servers.asgi`` asks for it."""

    async def on_get(
        self, _req: falcon.asgi.Request, resp: falcon.asgi.Response
    ) -> None:
        resp.media = {'worker': os.getpid()}


chat = Chat(permit)
app = falcon.asgi.App(middleware=[chat])
app.add_route('/chats/{conv_id}', chat)
app.add_route('/chats/lookup', chat, suffix='lookup')
app.add_route('/chats/{conv_id}/stream', chat, suffix='stream')
app.add_route('/chats/{conv_id}/stop', chat, suffix='stop')
app.add_route('/chats/{conv_id}/title', Title())
app.add_route('/which', Title())
app.add_route('/healthz', Healthy())
watch({})
