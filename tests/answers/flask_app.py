"""A Flask application of somebody's: POST begins an answer that a test steers."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import flask

from shmstream import owner_of
from shmstream.flask import Answers
from tests.producing.scripted import script

FOLDER = Path(os.environ.get('PRODUCING_FOLDER', '.'))


def permit(asked: flask.Request) -> bytes:
    """Who is asking is in a header; a stranger is refused."""
    user = asked.headers.get('X-User', 'somebody')
    if user == 'stranger':
        flask.abort(401)
    return owner_of(user)


app = flask.Flask(__name__)
answers = Answers('/chats', permit)
app.register_blueprint(answers.blueprint)


@app.post('/chats/<chat>')
@app.post('/chats/', defaults={'chat': ''})
def ask(chat: str) -> Any:
    chat = chat or flask.request.args['conv_id']
    return answers.start(chat, script(FOLDER, flask.request.get_json(True)).in_thread)


@app.get('/chats/<chat>/title')
@app.get('/which', defaults={'chat': 'none'})
def title(chat: str) -> str:
    return f'{chat} by {os.getpid()}'
