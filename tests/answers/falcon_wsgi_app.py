"""The same as ``flask_app``, for Falcon under WSGI."""

from __future__ import annotations

import os
from pathlib import Path

import falcon

from shmstream import owner_of
from shmstream.falcon import WsgiAnswers
from tests.producing.scripted import script

FOLDER = Path(os.environ.get('PRODUCING_FOLDER', '.'))


def permit(asked: falcon.Request) -> bytes:
    """Who is asking is in a header; a stranger is refused."""
    user = asked.get_header('X-User') or 'somebody'
    if user == 'stranger':
        raise falcon.HTTPUnauthorized
    return owner_of(user)


class Chat(WsgiAnswers):
    """POST begins an answer."""

    def on_post(self, req: falcon.Request, resp: falcon.Response, conv_id: str) -> None:
        chat = conv_id or req.get_param('conv_id', required=True)
        self.start(req, resp, chat, script(FOLDER, req.get_media()).in_thread)


class Title:
    """What the application has of its own."""

    def on_get(
        self, _req: falcon.Request, resp: falcon.Response, conv_id: str = 'none'
    ) -> None:
        resp.text = f'{conv_id} by {os.getpid()}'


chat = Chat(permit)
app = falcon.App()
app.add_route('/chats/{conv_id}', chat)
app.add_route('/chats/lookup', chat, suffix='lookup')
app.add_route('/chats/{conv_id}/stream', chat, suffix='stream')
app.add_route('/chats/{conv_id}/stop', chat, suffix='stop')
app.add_route('/chats/{conv_id}/title', Title())
app.add_route('/which', Title())
