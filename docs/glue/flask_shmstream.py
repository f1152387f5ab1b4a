"""The Flask chat, whose answers resume by shmstream."""

from flask import Flask, Response, request

import shmstream.flask
from docs.glue.model import words_in_thread

app = Flask(__name__)
answers = shmstream.flask.Answers('/chat')
app.register_blueprint(answers.blueprint)


@app.post('/chat/<chat>')
def ask(chat: str) -> Response:
    """Answer."""
    text = request.get_json()['text']
    return answers.start(chat, words_in_thread(text))
